"""What README promises: its commands, its Python, its tables, and every preset, run short."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import small_network

from ffseq.catalogue import entry
from ffseq.cli import main
from ffseq.commands.presets import load_preset, preset_files
from ffseq.config import LearningConfig
from ffseq.corpus import load_corpus
from ffseq.learning import learn
from ffseq.negatives import draw
from ffseq.randomness import generator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORT = [
    "--max_iters",
    "3",
    "--batch_size",
    "128",
    "--eval_interval",
    "100",
    "--sample_interval",
    "0",
    "--floors",
    "no",
    "--quiet",
]
ONE_CELL = ["--methods", "twin-expected", "--seeds", "0", "--learning_rates", "0.001", "--dropouts", "0.1"]
SLEEP = [
    "--updates", "60", "--lengths", "1", "--mechanisms", "nce", "--deprivation", "0", "--rates", "1e-3", "--units", "8",
    "--batch_size", "16", "--eval_interval", "30", "--recovery_limit", "20", "--quiet",
]  # fmt: skip
SHORTENED = {
    "train": [*SHORT, "--units", "32"],
    "bench": ["--only", "sampling", "--seconds", "0.05"],
    "sleep": SLEEP,
    "images": [
        "--train_images",
        "300",
        "--epochs",
        "1",
        "--batch_size",
        "30",
        "--units",
        "16",
        "--threads",
        "1",
        "--quiet",
    ],
    "compare": [*SHORT, "--units", "16", "--threads", "1", *ONE_CELL],
}
BLOCKS = re.findall(r"```(console|python)\n(.*?)```", README, re.DOTALL)
#: Blocks that are a file of the reader's, by its name.
MODULES = {block.split()[1]: block for kind, block in BLOCKS if kind == "python" and block.startswith("# ")}
COMMANDS = [
    line[2:] for kind, block in BLOCKS if kind == "console" for line in block.splitlines() if line.startswith("$ ")
]


def test_the_two_set_up_commands_come_first() -> None:
    assert COMMANDS[0].split(" && ")[0].startswith("pip install ")
    assert COMMANDS[0].endswith("ffseq train")
    assert COMMANDS[1].endswith("pytest")
    assert README.index(COMMANDS[1]) < 1500


def test_every_command_of_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mytext.txt").write_text("Once upon a time there was a fox, and the fox was hungry. " * 60)
    monkeypatch.syspath_prepend(str(tmp_path))  # as the command does with the folder where it is started
    for name, block in MODULES.items():
        (tmp_path / name).write_text(block)
    (tmp_path / "letters").mkdir()
    with zipfile.ZipFile(tmp_path / "stories.zip", "w") as stories, (tmp_path / "posts.jsonl").open("w") as posts:
        for name in ("first", "second"):
            text = f"The {name} fox was hungry, and the {name} hen was not. " * 40
            (tmp_path / "letters" / f"{name}.txt").write_text(text)
            stories.writestr(f"{name}.md", text)
            posts.write(json.dumps({"title": name, "body": text}) + "\n")
    commands = COMMANDS[2:]
    assert {command.split(" | ")[-1].split()[1] for command in commands} >= {"train", "sample", "evaluate", "compare"}
    for command in commands:
        *before, command = command.split(" | ")
        if before:  # cat FILE
            piped = Path(shlex.split(before[0])[1]).read_bytes()
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
        name, *words = shlex.split(command)
        if name == "torchrun":
            short = [*words, *SHORT, "--threads", "1"]
            subprocess.run([sys.executable, "-m", "torch.distributed.run", *short], check=True, timeout=120)
            continue
        assert name == "ffseq"
        assert main(words + SHORTENED.get(words[0], [])) == 0, command
    assert not capsys.readouterr().err.count("Traceback")
    # The Python of README works on the run that its commands made.
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, "README.md", "exec"), {})  # the text of our own README
    said = capsys.readouterr().out
    assert "Once upon" in said
    (bits,) = re.findall(r"after 300 updates: (\S+) bits", said)
    assert float(bits) < 1.0  # a sentence again and again; its symbols alone have 3.7 bits


def test_the_learning_step_on_one_screen_is_a_layers() -> None:
    """Three updates of the function in README and of a net of one layer, with the same negatives."""
    (block,) = (block for kind, block in BLOCKS if "def learn_layer" in block)
    names: dict[str, Any] = {}
    exec(block[: block.index("text = Path")], names)  # the text of our own README
    network = small_network(layers=1, recency=0.0)
    layer, contexts = network.layers[0], torch.randint(0, 5, (50, 4), generator=generator(0, "contexts"))
    targets = contexts.sum(1) % 5
    x = torch.nn.functional.one_hot(contexts, 6).flatten(1).float()
    mine = [layer.context, layer.bias, layer.candidates, layer.candidate_bias]
    given = [one.detach().clone() for one in mine]
    drawn: list[torch.Tensor] = []
    names["torch"] = SimpleNamespace(**{**vars(torch), "multinomial": lambda q, n, generator: drawn[-1]})
    for _ in range(3):
        scores = network.scores(contexts)
        weights = draw("sampled", scores, targets, count=1, generator=generator(0, "n")).weights
        drawn.append(weights.argmax(1, keepdim=True))
        _, nats = names["learn_layer"](x, targets, *given, 0.3, None)
        learning = LearningConfig(objective="contrast", num_negatives=1, scope="own")
        update = learn(network, contexts, targets, learning, random=generator(0, "n"))
        torch.testing.assert_close(nats.mean() / math.log(2), update.bits)
        for weight, name in zip(mine, ("context", "bias", "candidates", "candidate_bias"), strict=True):
            weight += 0.3 * update.changes[0][name]
    for one, two in zip(mine, given, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_refusals_that_readme_explains_are_those_that_are_given() -> None:
    """Each piece of a quoted message stands in the code."""
    code = " ".join(re.sub(r'"\s*f?"', "", path.read_text(encoding="utf-8")) for path in (ROOT / "ffseq").rglob("*.py"))
    section = README[README.index("## When something is refused") :]
    messages = re.findall(r"^- \*\*\"(.*?)\"\*\*", section, re.MULTILINE)
    assert len(messages) > 5
    for message in messages:
        for piece in re.split(r"…|'é' \(U\+00E9 …\)", message):
            assert piece.strip(" '()") in code, message


@pytest.mark.parametrize("name", sorted(preset_files()))
def test_every_preset_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = entry(load_preset(name)["corpus"])
    if card.file and not card.embedded and not Path(os.environ.get("FFSEQ_DATA", ""), card.file).is_file():
        pytest.skip(f"FFSEQ_DATA does not name a folder with {card.file}")
    out_dir = str(tmp_path / "run")
    # Narrow, and little is scored: a net of full size would read the held-out text of its preset for a minute.
    little = ["--units", "32", "--split_rule", "98/1/1"]
    if "split_rule" in load_preset(name):
        load_corpus(card.name, split_rule=load_preset(name)["split_rule"])
    if load_preset(name).get("memory"):
        little += ["--memory", "4096"]  # a large one takes seconds to write
    assert main(["train", "--preset", name, "--json", "--out_dir", out_dir, *SHORT, *little]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["corpus"] == card.name
    assert result["bits_per_character"] > 0


def test_a_catalogue_corpus_is_trained_with_the_preset_of_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--split_rule", "98/1/1"]  # are scored
    assert main(["train", "markov", "--out_dir", str(tmp_path / "run"), *SHORT, *few]) == 0
    options = json.loads((tmp_path / "run" / "options.json").read_text())
    preset = load_preset("markov")
    for key in ("block_size", "units", "recency", "objective"):
        assert options[key] == preset[key]
    assert "preset markov" not in capsys.readouterr().err  # quiet


def test_tables_are_those_of_the_results() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "runners" / "tables.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, "README and runners/results differ: run python runners/tables.py\n" + done.stderr


def test_a_wheel_works_from_an_empty_directory(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    # The build backend itself, so that no package index is asked; its copy of the tree leaves nothing in this one.
    tree = tmp_path / "tree"
    ignored = {".git", "runs", "build", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
    import shutil

    shutil.copytree(
        ROOT, tree, ignore=lambda _, names: [name for name in names if name in ignored or name.endswith(".egg-info")]
    )
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    pytest.importorskip("setuptools", minversion="77")
    done = subprocess.run([sys.executable, "-c", build, str(wheels)], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.glob("*.whl")
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    environment = {key: value for key, value in os.environ.items() if key != "FFSEQ_DATA"} | {
        "PYTHONPATH": str(installed)
    }

    def run(*words: str) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-m", "ffseq", *words, "--json"],
            cwd=empty,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))

    run_folder = str(run("train", *SHORT, "--units", "16", "--out_dir", "run")["run"])
    assert run("sample", run_folder, "--max_new_tokens", "20")["samples"]
    assert run("list")["presets"]
    where = subprocess.run(
        [sys.executable, "-c", "import ffseq; print(ffseq.__file__)"],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(installed))
