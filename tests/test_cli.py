"""The `easel` command as a user runs it: a process, its output, its exit code.

python -m pytest tests/test_cli.py
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from answering import Api
from commands import at, clean, easel
from losing import losing_an_answer, wait
from PIL import Image
from receiving import receiving
from safetensors.torch import save_file
from serving import Served, serving

from easel.cli.generate import read_reference
from easel.sdk.client import Client


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    path = tmp_path / "drawing.png"
    Image.new("RGB", (64, 48), "teal").save(path)
    return path


def test_generate_keeps_the_picture_and_says_what_it_cost(
    served: Served, drawing: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    options = ["--reference", f"{drawing}:0.6", "--aspect", "16:9", "--creativity", "high", "--seed", "7"]
    ran = easel("generate", "a fox", *options, "-o", str(out), **at(served))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"{out} · ")
    assert ran.stdout.endswith("seed 7 · $0.035\n")
    with Image.open(out) as image:
        assert image.size == (1376, 768)


def test_generate_starts_from_a_picture_and_sets_the_instruments(
    served: Served, drawing: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    options = ["--image", str(drawing), "--strength", ".6", "--intensity", "40", "--movement", "-10"]
    ran = easel("generate", "a fox", *options, "-o", str(out), **at(served))
    assert ran.returncode == 0, ran.stderr
    with Image.open(out) as image:
        recipe = json.loads(image.text["easel"])
    names = ("start_strength", "intensity", "complexity", "movement")
    assert [recipe[name] for name in names] == [0.6, 40, 0, -10]


def test_generate_json_is_json_alone(served: Served, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    ran = easel(
        "generate", "a fox", "--model", "large", "--seed", "3", "--json", "-o", str(out), **at(served)
    )
    report = json.loads(ran.stdout)
    assert (report["path"], report["seed"], report["cost_usd"]) == (str(out), 3, "0.06")
    assert ran.stderr == ""


def test_a_moodboard_is_made_listed_shown_used_and_deleted(
    served: Served, drawing: Path, tmp_path: Path
) -> None:
    made = easel("moodboard", "create", "prints", str(drawing), **at(served))
    assert (made.returncode, made.stderr) == (0, "1 flat pictures.\n"), made.stderr
    board = made.stdout.strip()
    listed = easel("moodboard", "list", **at(served)).stdout
    assert next(line for line in listed.splitlines() if board in line).split()[1:4] == ["prints", "1", "yes"]
    assert "keywords: flat\n" in easel("moodboard", "show", board, **at(served)).stdout

    out = tmp_path / "out.png"
    options = ["--moodboard", f"{board}:-0.25", "--json", "-o", str(out)]
    report = json.loads(easel("generate", "a fox", *options, **at(served)).stdout)
    assert report["cost_usd"] == "0.04"

    assert easel("moodboard", "delete", board, **at(served)).returncode == 0
    gone = easel("generate", "a fox", "--moodboard", board, **at(served))
    assert (gone.returncode, gone.stdout) == (2, "")
    assert f"There is no moodboard '{board}'" in gone.stderr


def test_a_style_is_trained_listed_shown_used_and_deleted(served: Served, tmp_path: Path) -> None:
    pictures = [tmp_path / f"{colour}.png" for colour in ("red", "green", "blue")]
    for path in pictures:
        Image.new("RGB", (64, 48), path.stem).save(path)
    options = ["--steps", "2", "--trigger-word", "woodcut"]
    made = easel("style", "train", "prints", *map(str, pictures), *options, **at(served))
    assert made.returncode == 0, made.stderr
    style = made.stdout.strip()
    assert f"{style}  prints" in easel("style", "list", **at(served)).stdout
    assert "trigger word: woodcut\n" in easel("style", "show", style, **at(served)).stdout
    painted = easel("generate", "a fox", "-s", f"{style}:-0.5", "-o", str(tmp_path / "a.png"), **at(served))
    assert painted.returncode == 0, painted.stderr
    assert easel("style", "delete", style, **at(served)).returncode == 0
    gone = easel("generate", "a fox", "--style", style, **at(served))
    assert gone.returncode == 2
    assert f"There is no style '{style}'" in gone.stderr


def test_a_lora_file_is_imported_and_one_of_another_model_is_told_what_it_is(
    served: Served, tmp_path: Path
) -> None:
    def written(name: str, layer: str, size: int) -> str:
        path = tmp_path / f"{name}.safetensors"
        halves = {
            f"{layer}.lora_A.weight": torch.zeros(4, size),
            f"{layer}.lora_B.weight": torch.zeros(size, 4),
        }
        save_file(halves, path)
        return str(path)

    data = {"EASEL_DATA": str(served.data)}
    mine = written("mine", "transformer.transformer_blocks.5.attn.to_q", 320)
    imported = easel("style", "import", mine, "--trigger-word", "woodcut", **data)
    assert imported.returncode == 0, imported.stderr
    assert f"{imported.stdout.strip()}  mine   k2-large" in easel("style", "list", **at(served)).stdout

    krea = easel("style", "import", written("krea", "diffusion_model.blocks.0.attn.wq", 6144), **data)
    assert (krea.returncode, krea.stdout) == (1, "")
    assert "(6144 × 6144)" in krea.stderr
    assert "its 'transformer_blocks.0.attn.to_q' is 320 × 320" in krea.stderr
    assert "krea" not in easel("style", "list", **at(served)).stdout


def test_a_moodboard_of_a_broken_picture_ends_with_its_name(served: Served, tmp_path: Path) -> None:
    ran = easel("moodboard", "create", "prints", f"{served.url}/healthz", **at(served))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "urls.0: " in ran.stderr


def test_generate_uses_the_server_of_this_machine(served: Served, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    ran = easel("generate", "a fox", "-o", str(out), EASEL_DATA=str(served.data))
    assert ran.returncode == 0, ran.stderr
    assert out.exists()


def test_generate_starts_a_server_when_none_runs(data_folder: Path) -> None:
    data, out = data_folder / "data", data_folder / "out.png"
    ran = easel("generate", "a fox", "-o", str(out), EASEL_DATA=str(data), EASEL_PORT="0")
    try:
        assert ran.returncode == 0, ran.stderr + (data / "serve.log").read_text()
        assert "Started `easel serve`" in ran.stderr
        assert out.exists()
    finally:
        server = psutil.Process(json.loads((data / "server.json").read_text())["pid"])
        server.terminate()
        server.wait(30)


def test_generate_waits_for_a_server_that_is_starting(data_folder: Path) -> None:
    data, out = data_folder / "data", data_folder / "out.png"
    access = {"EASEL_DATA": str(data), "EASEL_PORT": "0"}
    with subprocess.Popen(
        [sys.executable, "-m", "easel", "serve"], env=clean(access), stdout=subprocess.DEVNULL
    ) as server:
        until((data / "postgres").exists)
        ran = easel("generate", "a fox", "-o", str(out), **access)
        server.terminate()
    assert ran.returncode == 0, ran.stderr
    assert "Started" not in ran.stderr
    assert out.exists()


def test_interrupting_generate_cancels_the_job(data_folder: Path) -> None:
    with (
        serving(data_folder, EASEL_NULL_STEP_SECONDS="1") as served,
        Client(served.token, served.url) as client,
    ):
        ran = generating(at(served))
        until(lambda: [job for job in client.jobs.list().items if job.status == "processing"])
        ran.send_signal(signal.SIGINT)
        _, remarks = ran.communicate(timeout=20)
        assert ran.returncode == 130, remarks
        assert "Cancelled." in remarks
        assert client.jobs.list().items[0].status == "cancelled"


def test_interrupting_generate_before_it_has_an_answer_cancels_the_job_too(idle: Api) -> None:
    with losing_an_answer(idle.url, wait) as way:
        ran = generating({"KREA_BASE_URL": way.url, "KREA_API_KEY": idle.token})
        assert way.lost.wait(20)
        ran.send_signal(signal.SIGINT)
        _, remarks = ran.communicate(timeout=20)
    assert (ran.returncode, remarks) == (130, "Cancelled.\n")
    [job] = idle.client.get("/jobs").json()["items"]
    assert job["status"] == "cancelled"


def generating(environment: dict[str, str]) -> "subprocess.Popen[str]":
    """`easel generate`, begun."""
    return subprocess.Popen(
        [sys.executable, "-m", "easel", "generate", "a fox"],
        env=clean(environment),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background jobs
    )


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["generate", "a fox", "--aspect", "5:6"], 2, "'5:6' is not one of '1:1'"),
        (["generate", "a fox", "--reference", "nowhere.png:0.6"], 2, "There is no file 'nowhere.png'"),
        (["generate", "a fox", "--moodboard", "prints"], 2, "'prints' is no moodboard"),
        (["moodboard", "create", "prints", "nowhere.png"], 2, "There is no file 'nowhere.png'"),
        (["moodboard", "create", "prints"], 2, "Missing argument"),
        (["generate", "a fox", "--image", "nowhere.png"], 2, "There is no file 'nowhere.png'"),
        (["generate", "a fox", "--strength", "1.1"], 2, "less than or equal to 1"),
        (["generate", "a fox", "--intensity", "-101"], 2, "greater than or equal to -100"),
        (["generate", "a fox", "--style", "prints:high"], 2, "'prints:high' is no style"),
        (["style", "train", "prints", "nowhere.png"], 2, "There is no file 'nowhere.png'"),
        (["generate", ""], 2, "prompt"),
        (["paint"], 2, "No such command 'paint'"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(served: Served, words: list[str], code: int, says: str) -> None:
    ran = easel(*words, **at(served))
    assert (ran.returncode, ran.stdout) == (code, "")
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr


def test_no_server_and_a_wrong_token_end_with_3(served: Served) -> None:
    nowhere = easel("generate", "a fox", KREA_BASE_URL="http://127.0.0.1:9", KREA_API_KEY="x")
    assert (nowhere.returncode, nowhere.stdout) == (3, "")
    assert nowhere.stderr.startswith("easel: http://127.0.0.1:9 does not answer")
    stranger = easel("generate", "a fox", **at(served) | {"KREA_API_KEY": "wrong"})
    assert stranger.returncode == 3
    assert "Traceback" not in stranger.stderr


def test_a_token_is_made_listed_used_and_revoked(served: Served, tmp_path: Path) -> None:
    data = {"EASEL_DATA": str(served.data)}
    token = easel("token", "create", "studio", **data).stdout.strip()
    out = str(tmp_path / "out.png")
    assert easel("generate", "a fox", "-o", out, **at(served) | {"KREA_API_KEY": token}).returncode == 0

    identifier, _, secret = token.partition(":")
    listed = easel("token", "list", **data).stdout
    assert identifier in listed
    assert "studio" in listed
    assert secret not in listed

    assert easel("token", "revoke", identifier, **data).returncode == 0
    assert easel("generate", "a fox", **at(served) | {"KREA_API_KEY": token}).returncode == 3


def test_webhooks_are_listed_shown_and_sent_again(served: Served) -> None:
    data = {"EASEL_DATA": str(served.data)}
    with receiving(410) as receiver, Client(served.token, served.url) as client:
        job = client.submit("a fox", webhook_url=receiver.url)
        tried = f"/webhooks/deliveries?state=failed&job_id={job.job_id}"
        until(lambda: client.http.get(tried).json()["items"])
    narrow = data | {"COLUMNS": "60"}  # ids are there to be copied
    listed = easel("webhooks", "list", "--job", str(job.job_id), "--state", "failed", **narrow).stdout
    assert "The receiver answered 410" in listed
    delivery = listed.splitlines()[1].split()[0]
    none = easel("webhooks", "list", "--job", str(job.job_id), "--state", "delivered", **data).stdout
    assert none.count("\n") == 1
    shown = easel("webhooks", "show", delivery, **data).stdout
    assert receiver.url in shown
    assert f'"job_id":"{job.job_id}","status":"completed"' in shown
    unknown = easel("webhooks", "show", str(job.job_id), **data)
    assert unknown.returncode == 1
    assert f"There is no delivery '{job.job_id}'" in unknown.stderr
    again = easel("webhooks", "resend", delivery, **data)
    assert (again.returncode, again.stderr) == (0, f"{delivery} is sent to {receiver.url} again.\n")
    assert "pending" in easel("webhooks", "list", "--job", str(job.job_id), **data).stdout


def test_the_secret_of_webhooks_is_shown_rotated_and_the_old_one_dropped(served: Served) -> None:
    data = {"EASEL_DATA": str(served.data)}
    old = easel("webhooks", "secret", **data).stdout
    new = easel("webhooks", "rotate-secret", **data).stdout
    assert easel("webhooks", "secret", **data).stdout == new + old
    once_more = easel("webhooks", "rotate-secret", **data)
    assert once_more.returncode == 2
    assert "easel webhooks drop-old-secret" in once_more.stderr
    assert easel("webhooks", "drop-old-secret", **data).returncode == 0
    assert easel("webhooks", "secret", **data).stdout == new


def test_doctor_finds_a_running_server_well(served: Served) -> None:
    ran = easel("doctor", EASEL_DATA=str(served.data))
    assert ran.returncode == 0, ran.stdout
    assert f"easel serves at {served.url}" in ran.stdout


def test_doctor_says_how_to_mend_a_checkpoint(data_folder: Path) -> None:
    broken = {
        "EASEL_DATA": str(data_folder),
        "EASEL_CHECKPOINT": str(data_folder / "empty"),
    }
    ran = easel("doctor", "--models", "nano", **broken)
    assert ran.returncode == 1
    assert "✗ checkpoint" in ran.stdout
    assert "EASEL_CHECKPOINT" in ran.stdout


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [("EASEL_SAFETY", "off", "OFF"), ("EASEL_MODERATION_URL", "http://127.0.0.1:9/", "cannot be reached")],
)
def test_doctor_says_when_nothing_is_filtered(data_folder: Path, setting: str, value: str, says: str) -> None:
    ran = easel("doctor", EASEL_DATA=str(data_folder), **{setting: value})
    assert ran.returncode == 1
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("✗ safety")]
    assert says in line
    assert setting in line


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    ran = easel("serve", EASEL_DATA=str(tmp_path), EASEL_PORT="eighty")
    assert ran.returncode == 2
    assert "EASEL_PORT" in ran.stderr
    assert "'eighty'" in ran.stderr


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("https://example.org/a.png", "https://example.org/a.png"),
        ("https://example.org/a.png:0.6", ("https://example.org/a.png", 0.6)),
        ("https://example.org:8080/a.png:-1", ("https://example.org:8080/a.png", -1.0)),
        ("data:image/png;base64,AAAA:.5", ("data:image/png;base64,AAAA", 0.5)),
    ],
)
def test_a_reference_is_read_with_its_strength(text: str, reference: object) -> None:
    assert read_reference(text) == reference


def until(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)
