"""python -m pytest tests/test_krea_fast.py — what is faster on a GPU does what the plain form does, on tiny
networks and a processor."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import gguf
import numpy as np
import pytest
import tiny_krea
import torch
import torch._dynamo
from counting import operations, storages
from diffusers import AutoencoderKLQwenImage, Krea2Transformer2DModel
from PIL import Image
from tiny_krea import rotary
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from easel.engine import warm
from easel.engine.krea import Conditioning, KreaEngine
from easel.engine.sampler import sample
from easel.engine.steps import Steps
from easel.engine.transformers import Transformers
from easel.engine.voices import KeptVoices, size
from easel.errors import Cancelled
from easel.model import eight_bits, in_context, kernels, open_weights, shared
from easel.model.attention import Telling, attend, attend_apart, attend_at, repeated
from easel.model.backend import PLAIN, Backend, compiled
from easel.model.eight_bits import Linear8, multiplied, rounded
from easel.model.gguf_bits import KINDS, LinearGguf
from easel.model.lora import Change, Kronecker, Style
from easel.model.pixels import Pixels
from easel.model.transformer import fuse_text, grid, predict
from easel.model.worn import worn
from easel.settings import Settings

CPU = torch.device("cpu")
T = torch.tensor([0.6])


def made(**other: object) -> Krea2Transformer2DModel:
    torch.manual_seed(0)
    network = tiny_krea.shaken(Krea2Transformer2DModel(**tiny_krea.TRANSFORMER | other))
    return network.eval().requires_grad_(False)


def halved() -> Krea2Transformer2DModel:
    """In half precision, but for its norms."""
    network = made().to(torch.bfloat16)
    for name, layer in network.named_modules():
        if "norm" in name:
            layer.float()
    return network


@pytest.fixture
def transformer() -> Krea2Transformer2DModel:
    return made()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text(transformer: Krea2Transformer2DModel, tokens: int) -> Tensor:
    return fuse_text(transformer, drawn(1, tokens, 3, 32, seed=9).to(transformer.img_in.weight))


def velocity(transformer: Krea2Transformer2DModel, words: int = 7, rows: int = 4, columns: int = 6) -> Tensor:
    x = drawn(1, rows * columns, 16).to(transformer.img_in.weight)
    return predict(
        transformer, x, T.to(x.device), text(transformer, words), rotary(transformer, rows, columns)
    )


# Compiled halves


@pytest.fixture
def graphs() -> Iterator[list[int]]:
    """The graphs that were compiled: how many operations each has."""
    torch._dynamo.reset()
    compiled.cache_clear()
    counted: list[int] = []

    def count(graph: torch.fx.GraphModule, given: object) -> object:
        counted.append(len(graph.graph.nodes))
        return graph.forward

    torch._dynamo.register_backend(count, name="counting")
    yield counted
    torch._dynamo.reset()
    torch._dynamo.backends.registry._COMPILER_FNS.pop("counting")
    compiled.cache_clear()


def test_one_graph_a_half_serves_all_blocks_networks_and_lengths(graphs):
    fast = compiled(by="counting")
    with torch.inference_mode():
        for network in (made(), made()):
            for words, rows, columns in ((7, 4, 6), (9, 8, 6), (30, 10, 3)):
                plain = velocity(network, words, rows, columns)
                network.backend = fast
                assert torch.equal(velocity(network, words, rows, columns), plain)
                network.backend = PLAIN
    assert len(graphs) == 2


def test_each_mix_of_a_gguf_files_kinds_is_one_graph(graphs):
    """Of more mixes than PyTorch compiles one function for, unless it is told."""
    network = made(num_layers=9)
    for i, block in enumerate(network.transformer_blocks):
        for digit, name in enumerate(("to_q", "to_k", "to_v", "to_gate")):
            if i >> digit & 1:
                setattr(block.attn, name, in_blocks(getattr(block.attn, name), "Q8_0"))
    with torch.inference_mode():
        plain = velocity(network)
        network.backend = compiled(by="counting")
        assert torch.equal(velocity(network), plain)
    assert len(graphs) == 9 + 1


def in_blocks(layer: torch.nn.Linear, kind: str) -> LinearGguf:
    made = LinearGguf(layer.in_features, layer.out_features, kind, bias=False)
    packed = torch.from_numpy(gguf.quantize(layer.weight.numpy(), KINDS[kind]))
    made.weight_packed = packed.view(made.weight_packed.shape)
    return made


def test_products_in_eight_bits_are_part_of_the_graphs(graphs):
    network = tiny_krea.kept_in_eight_bits(halved())
    for layer in network.modules():
        layer.able = True
    with torch.inference_mode():
        plain = velocity(network)
        network.backend = compiled(by="counting")
        assert torch.equal(velocity(network), plain)
    assert len(graphs) == 2


def test_while_the_blocks_wear_a_lokr_nothing_of_them_is_compiled(transformer, graphs):
    """It acts through hooks, which a graph that was made before does not see."""
    lokr = {"transformer_blocks.1.attn.to_q": Kronecker(drawn(8, 8), drawn(8, 8, seed=1))}
    transformer.backend = fast = compiled(by="counting")
    with worn(transformer, [Style("LoKr", lokr, 0.5)]):
        assert transformer.backend == PLAIN
        velocity(transformer)
    assert transformer.backend is fast
    assert graphs == []


def test_nothing_is_compiled_on_a_processor():
    assert warm.fastest(made(), torch.bfloat16, CPU, compiles=True) is PLAIN
    assert Settings(compile="off").krea.compiles is False
    assert Settings().krea.compiles is True


# Attention


def told(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """A kernel of the processor that tells what the weights come to."""
    heads = (z.transpose(1, 2) for z in (q, repeated(k, q), repeated(v, q)))
    out, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*heads)
    return out.transpose(1, 2), total.transpose(1, 2)


def heads(queries: int = 10, keys: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    return drawn(1, queries, 4, 16, seed=1), drawn(1, keys, 2, 16, seed=2), drawn(1, keys, 2, 16, seed=3)


@pytest.mark.parametrize(
    "volumes", [[(24, 1.0)], [(10, 1.0), (14, 0.5)], [(4, 1.0), (8, 2.0), (11, 1e-6), (1, 1.0)]]
)
def test_keys_of_several_volumes_are_heard_run_by_run_as_at_once(volumes):
    q, k, v = heads()
    assert torch.allclose(attend_apart(told, q, k, v, volumes), attend_at(q, k, v, volumes), atol=1e-6)


def test_a_volume_is_what_a_keys_weight_is_multiplied_by():
    q, k, v = heads()
    twice = torch.cat([k, k[:, 20:]], 1), torch.cat([v, v[:, 20:]], 1)
    assert torch.allclose(attend_at(q, k, v, [(20, 1.0), (4, 2.0)]), attend(q, *twice), atol=1e-6)


def test_the_fastest_kernel_is_taken_of_those_that_are_right():
    q, k, v = heads()

    def slow(*given: Tensor) -> Tensor:
        time.sleep(0.02)
        return attend(*given)

    def missing(*given: Tensor) -> Tensor:
        raise RuntimeError("No available kernel")

    ways = {
        "plain": slow,
        "wrong": lambda *given: 1.1 * attend(*given),
        "nothing": lambda *given: torch.nan * attend(*given),
        "missing": missing,
        "fast": attend,
    }
    name, way = kernels.fastest(ways, (q, k, v), attend(q[:, :4], k, v))
    assert (name, way) == ("fast", attend)
    assert kernels.fastest({"plain": slow, "missing": missing}, (q, k, v), attend(q, k, v))[0] == "plain"


def test_of_the_kernels_that_tell_of_their_weights_only_the_fastest_is_tried_again(transformer, monkeypatch):
    tried: list[str] = []

    def kernel(name: str, pause: float) -> Telling:
        def tell(*given: Tensor) -> tuple[Tensor, Tensor]:
            tried.append(name)
            time.sleep(pause)
            return told(*given)

        return tell

    telling = {"slow": kernel("slow", 0.01), "quick": kernel("quick", 0)}
    for name, value in {"TOKENS": 64, "WAYS": {}, "TELLING": telling, "told": kernel("torch", 0.01)}.items():
        monkeypatch.setattr(kernels, name, value)
    monkeypatch.setattr(kernels, "attend_at", lambda *given: time.sleep(0.04) or attend_at(*given))
    ways = kernels.chosen(transformer, CPU)
    assert ways["telling"] == ("quick", telling["quick"])
    assert ways["attend_at"][0] == "quick, apart"
    assert tried.count("quick") == 2 * tried.count("slow") > 0


def test_references_in_context_are_the_same_by_a_kernel_without_bias(transformer):
    context = in_context.context_of([(drawn(1, 4, 8, 8, seed=1), 0.5), (drawn(1, 4, 4, 12, seed=2), 2.0)])
    turned = rotary(transformer, 4, 6, context.positions)
    found = []
    for backend in (PLAIN, replace(PLAIN, attend_at=partial(attend_apart, told))):
        transformer.backend = backend
        found.append(
            in_context.predict(transformer, drawn(1, 24, 16), T, text(transformer, 7), turned, context)
        )
    assert torch.allclose(*found, atol=1e-5)


# The loop


class NoWaiting(TorchDispatchMode):
    """Forbids what makes a processor wait for a GPU: reading a value, and bringing one over."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        given = [x for x in (*args, *(kwargs or {}).values()) if isinstance(x, Tensor)]
        places = {x.device.type for x in given if x.ndim}
        places |= {torch.device((kwargs or {}).get("device") or "meta").type}
        assert places == {"meta"}, f"{op} of {places}"
        return op(*args, **(kwargs or {}))


@pytest.mark.parametrize("way", ["plain", "guided", "shared", "in context"])
def test_the_loop_never_waits_for_the_device(way):
    """On a device that has no values to read."""
    network = made(num_layers=4).to("meta")
    z, words = torch.zeros(1, 4, 8, 8, device="meta"), text(network, 7)
    looks = shared.looks_of([(z, 0.4), (z, -0.2)]) if way == "shared" else []
    context = in_context.context_of([(z, 0.5)]) if way == "in context" else None
    shared.loudness((4, 6, 6), torch.device("meta"), torch.float32)  # made once, by the first picture
    given = torch.zeros(1, 24, 16, device="meta"), torch.zeros(4, device="meta"), words
    places, guidance = grid(4, 6).to("meta"), 3.5 * (way == "guided")
    with NoWaiting():
        sample(
            network,
            *given,
            places,
            negative=words,
            guidance=guidance,
            references=context,
            hear=lambda step, t: shared.ready(
                [(x.weights, shared.listen(network, x, words, t)) for x in looks]
            ),
        )


@pytest.mark.parametrize(
    ("way", "lengths"), [("plain", [24]), ("guided", [24]), ("references", [40]), ("away", [24, 40])]
)
def test_a_pictures_places_are_turned_once_for_all_steps(transformer, monkeypatch, way, lengths):
    turned: list[int] = []
    turn = transformer.rotary_emb.forward
    monkeypatch.setattr(transformer.rotary_emb, "forward", lambda ids: turned.append(len(ids)) or turn(ids))
    words = text(transformer, 7)
    context = (
        {way: in_context.context_of([(drawn(1, 4, 8, 8), 0.5)])} if way in ("references", "away") else {}
    )
    given = {"negative": words, "guidance": 3.5 * (way == "guided"), **context}
    sample(transformer, drawn(1, 24, 16), torch.linspace(1, 0, 5), words, grid(4, 6), **given)
    assert turned == lengths


def test_a_gpu_is_a_step_ahead_of_what_is_told():
    told_of: list[int] = []
    steps = Steps(lambda step, tokens: told_of.append(step), CPU)
    steps._behind = 1  # as a GPU is
    seen = []
    for step in (1, 2, 3):
        steps(step, T)
        seen.append(list(told_of))
    steps.finish()
    assert seen == [[], [1], [1, 2]]
    assert told_of == [1, 2, 3]


def test_what_a_step_raises_ends_the_sampling_one_step_later_at_most():
    def stop(step: int, tokens: Tensor) -> None:
        raise Cancelled("enough")

    steps = Steps(stop, CPU)
    steps._behind = 1
    steps(1, T)
    with pytest.raises(Cancelled):
        steps(2, T)


# References


def test_references_of_one_size_say_the_same_together_as_alone():
    network = made(num_layers=8)
    sizes = [(8, 8), (8, 8), (4, 12), (8, 8)]
    references = [(drawn(1, 4, *size, seed=i), 0.1 * i) for i, size in enumerate(sizes)]
    together = shared.looks_of(references)
    assert [len(looks.weights) for looks in together] == [3, 1]
    assert sorted(w for looks in together for w in looks.weights) == [w for _, w in references]
    nothing = text(network, 5)
    first, *_ = (shared.listen(network, looks, nothing, T) for looks in together)
    for i, z in enumerate(z for z, _ in references if z.shape[2:] == (8, 8)):
        (alone,) = shared.looks_of([(z, 1.0)])
        for one, many in zip(shared.listen(network, alone, nothing, T), first, strict=True):
            assert (one is None) == (many is None)
            if one and many:
                same = many.each()[i]
                assert torch.allclose(one.k, same.k, atol=1e-5)
                for manner, other in zip(one.manners, same.manners, strict=True):
                    assert torch.allclose(manner.mean, other.mean, atol=1e-5)
                    assert torch.allclose(manner.spread, other.spread, atol=1e-5)


def test_a_step_does_no_more_for_a_reference_than_look_at_it_and_mix_what_it_finds():
    """All else is done when it is listened to."""
    network = made(num_layers=4)  # of which three hear references
    words, x, turned = text(network, 7), drawn(1, 24, 16), rotary(network, 4, 6)

    def step(references: int) -> int:
        looks = shared.looks_of([(drawn(1, 4, 8, 8, seed=i), 0.2) for i in range(references)])
        heard = shared.ready([(one.weights, shared.listen(network, one, words, T)) for one in looks])
        return operations(lambda: shared.predict(network, x, T, words, turned, heard))

    found = [step(references) for references in (1, 2, 4)]
    each = 3 * (3 + 3 + 1)  # to look, with keys and values repeated; to tell how much of it counts; to mix
    assert found == [found[0], found[0] + each, found[0] + 3 * each]


def test_a_voice_holds_no_more_than_is_counted_of_it(transformer):
    (looks,) = shared.looks_of([(drawn(1, 4, 8, 8, seed=i), 0.2) for i in range(3)])
    voice = shared.listen(transformer, looks, text(transformer, 40), T)
    held = {storage._cdata: storage.nbytes() for one in voice if one for storage in storages((one.k, one.v))}
    assert sum(held.values()) == size(voice) > 0


@pytest.fixture(scope="module")
def turbo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_krea.save(tmp_path_factory.mktemp("krea") / "turbo", distilled=True)


def painting(turbo: Path, backend: Backend = PLAIN) -> tuple[KreaEngine, Transformers]:
    plan = open_weights.planned({"turbo": turbo, "raw": turbo.with_name("raw")}, turbo)
    transformers = Transformers(plan.transformers, CPU, backend=backend)
    return KreaEngine(
        transformers, open_weights.load_text(plan.text, plan.parts, CPU), plan.vae.load(CPU)
    ), transformers


@pytest.fixture(scope="module", autouse=True)
def raw(turbo: Path) -> Path:
    return tiny_krea.save(turbo.with_name("raw"), distilled=False, seed=1)


def asked(seed: int = 3, *weights: float, **more: object) -> Conditioning:
    noise = np.random.default_rng(0).integers(0, 255, (2, 64, 96, 3), dtype=np.uint8)
    looks = [(Image.fromarray(picture), weight) for picture, weight in zip(noise, weights, strict=False)]
    return replace(Conditioning("a fox", "", 96, 64, seed, "turbo", 3, 0.0, looks), **more)


def test_what_references_said_is_kept_for_the_next_picture(turbo, heard):
    engine, _ = painting(turbo)
    engine.unfinished(asked(1, 0.4, 0.2, steps=8))
    assert len(heard) == 3  # for steps 2 to 4, 5 to 7, and the last
    again = engine.unfinished(asked(2, 0.1, -0.3, steps=8))
    assert len(heard) == 3
    fresh, _ = painting(turbo)
    assert torch.equal(again, fresh.unfinished(asked(2, 0.1, -0.3, steps=8)))
    assert len(heard) == 6
    engine.unfinished(asked(2, 0.4, steps=8))  # another set
    engine.unfinished(asked(2, 0.4, 0.2, steps=16))  # of its five times, one is among those before
    assert len(heard) == 6 + 3 + 4


def style(name: str = "ink", strength: float = 1.0, rank: int = 4) -> Style:
    changes = {"transformer_blocks.1.attn.to_q": Change(drawn(rank, 64), drawn(64, rank, seed=1))}
    return Style(name, changes, strength)


def test_what_references_said_in_a_style_is_kept_for_the_next_picture_in_it(turbo, heard):
    engine, _ = painting(turbo)
    engine.unfinished(asked(1, 0.4, styles=[style()]))
    assert len(heard) == 1
    again = engine.unfinished(asked(2, 0.4, styles=[style()]))
    assert len(heard) == 1
    fresh, _ = painting(turbo)
    assert torch.equal(again, fresh.unfinished(asked(2, 0.4, styles=[style()])))
    assert len(heard) == 2
    for styles in ([], [style(strength=0.5)], [style("another")], [style(), style("another")]):
        before = len(heard)
        engine.unfinished(asked(2, 0.4, styles=styles))
        assert len(heard) == before + 1


def test_a_style_is_worn_though_the_blocks_were_compiled_and_references_wear_it_too(turbo):
    compiling, _ = painting(turbo, compiled(by="eager"))
    plainly, _ = painting(turbo)
    without = compiling.unfinished(asked(1, 0.4))
    worn = compiling.unfinished(asked(1, 0.4, styles=[style()]))
    assert torch.allclose(worn, plainly.unfinished(asked(1, 0.4, styles=[style()])), atol=1e-5)
    assert (worn - without).abs().max() > 0.01
    assert torch.equal(compiling.unfinished(asked(1, 0.4)), without)


def test_another_network_gets_the_memory_of_what_was_said(turbo):
    engine, _ = painting(turbo)
    engine.unfinished(asked(1, 0.4))
    engine.unfinished(asked(1, 0.2, weights="turbo", steps=8))
    assert len(engine._voices._kept) == 4
    engine.unfinished(asked(1, 0.4, weights="raw", guidance=1.0))
    assert len(engine._voices._kept) == 1


def test_no_more_is_kept_than_there_is_room_for():
    said = shared.Said([], drawn(1, 4, 2, 8), drawn(1, 4, 2, 8))
    voice = [None, said, said]
    assert size(voice) == 4 * 64 * 4
    kept, heard = KeptVoices(2.5 * size(voice)), []
    for key in ("a", "b", "a", "c", "a", "b"):
        assert kept.at(key, lambda key=key: heard.append(key) or voice) is voice
    assert heard == ["a", "b", "c", "b"]


def test_a_prompt_is_read_once_and_one_with_pictures_each_time(turbo, monkeypatch):
    text = open_weights.load_text(open_weights.text_encoder_at(turbo), turbo, CPU)
    read: list[object] = []
    forward = text.model.forward
    monkeypatch.setattr(text.model, "forward", lambda **given: read.append(0) or forward(**given))
    one, other = Image.new("RGB", (64, 96), "red"), Image.new("RGB", (64, 96), "blue")
    assert torch.equal(text.tapped("a fox"), text.tapped("a fox"))
    assert len(read) == 1
    assert not torch.equal(text.tapped("a fox", [one]), text.tapped("a fox", [other]))
    assert len(read) == 3


# Eight bits


def test_a_product_in_eight_bits_is_that_of_the_rounded_numbers():
    """By the call that a GPU gets, which a processor answers too."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 64).bfloat16(), torch.randn(48, 64)
    x[0, 0] *= 1000  # each row has a scale of its own
    weight[3] *= 100
    weight8, scale = rounded(weight)
    rows, sizes = rounded(x.flatten(0, 1))
    emulated = (rows.float() * sizes) @ (weight8.float() * scale).T
    found = multiplied(x, weight8, scale)
    assert found.shape == (2, 5, 48)
    assert found.dtype == torch.bfloat16
    error = (found.flatten(0, 1).float() - emulated).norm(dim=0) / emulated.norm(dim=0)
    assert error.max() < 0.004  # the rounding of bfloat16
    apart = (found.float() - x.float() @ weight.T).abs()
    assert (apart / x.float().norm(dim=-1, keepdim=True) / weight.norm(dim=1)).max() < 0.02


def test_a_device_is_trusted_with_eight_bits_once_it_has_multiplied_some_rightly(monkeypatch):
    cpu, rightly = torch.device("cpu"), torch._scaled_mm

    def missing(*given, **more):
        raise NotImplementedError("no kernel for this card")

    assert eight_bits.is_right(cpu)
    for wrongly in (missing, lambda *given, **more: rightly(*given, **more) * 1.1):
        monkeypatch.setattr("torch._scaled_mm", wrongly)
        assert not eight_bits.is_right(cpu)


def test_nothing_but_zeros_is_rounded_to_zeros():
    zeros = torch.zeros(3, 64).bfloat16()
    assert torch.equal(multiplied(zeros, *rounded(torch.ones(16, 64))), torch.zeros(3, 16).bfloat16())


def test_a_network_in_eight_bits_says_nearly_the_same():
    network = halved()
    wanted = velocity(network).float()
    tiny_krea.kept_in_eight_bits(network)
    assert isinstance(network.transformer_blocks[2].ff.down, Linear8)
    assert isinstance(network.img_in, torch.nn.Linear)
    assert not isinstance(network.img_in, Linear8)
    widened = velocity(network).float()
    with torch.inference_mode():
        for layer in network.modules():
            layer.able = True  # as where it lies on a GPU from Ada or Hopper on
        whole = velocity(network).float()
    for found in (widened, whole):
        assert 0.001 < (found - wanted).norm() / wanted.norm() < 0.06


# Pixels


def test_pictures_are_encoded_and_decoded_as_the_autoencoder_of_films_does_it():
    torch.manual_seed(0)
    film = tiny_krea.shaken(AutoencoderKLQwenImage(**tiny_krea.VAE | {"dim_mult": [1, 2, 2, 4]})).eval()
    x = torch.rand(2, 3, 48, 64)
    mean, std = (torch.tensor(film.config[f"latents_{name}"])[:, None, None] for name in ("mean", "std"))
    with torch.inference_mode():
        z = (film.encode((2 * x - 1)[:, :, None]).latent_dist.mode()[:, :, 0] - mean) / std
        picture = (film.decode((z * std + mean)[:, :, None]).sample[:, :, 0] / 2 + 0.5).clamp(0, 1)
        still = Pixels(film)
        assert torch.allclose(still.encode(x), z, atol=1e-5)
        assert torch.allclose(still.decode(z), picture, atol=1e-5)


# Ready before the first job


def failing(graph: torch.fx.GraphModule, given: object) -> object:
    raise OSError("no C compiler")


def test_a_compiler_that_fails_leaves_the_blocks_uncompiled(turbo):
    torch._dynamo.reset()
    broken = [torch.compile(half, backend=failing) for half in (PLAIN.projected, PLAIN.finished)]
    engine, transformers = painting(turbo, Backend(*broken))
    warm.warm(engine, transformers, "turbo", in_context=False)
    assert transformers.backend == PLAIN
    plain, _ = painting(turbo)
    assert torch.equal(engine.unfinished(asked()), plain.unfinished(asked()))


def test_after_warming_up_no_job_waits_for_the_compiler(turbo, graphs):
    engine, transformers = painting(turbo, compiled(by="counting"))
    warm.warm(engine, transformers, "turbo", in_context=True)
    made_ready = len(graphs)
    # one picture and several references, each in a style too; what a picture takes of their manner where
    # nothing is avoided, and where something is; and references in context
    assert made_ready == 12
    wide = Style("wide", {"transformer_blocks.1.ff.down": Change(drawn(64, 64), drawn(64, 64))}, 0.7)
    for job in (
        asked(),
        asked(1, 0.4),
        asked(1, 0.4, 0.2, width=64),
        asked(styles=[style(rank=5)]),
        asked(1, 0.4, 0.2, styles=[style(rank=16, strength=-1.0), wide]),
        asked(context=[(tiny_krea.pictured(), 0.5)], styles=[wide], width=112),
        asked(weights="raw", guidance=3.5, negative="blurred"),
        asked(1, 0.4, negative="blurred", styles=[wide]),
    ):
        engine.paint(job, lambda step: None)
    assert len(graphs) == made_ready
