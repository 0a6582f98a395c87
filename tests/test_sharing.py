"""Networks saved, shared and loaded again, by way of a folder and of something that speaks as the Hub does."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Answering, as_json, refused, served, small_network

from ffseq.card import model_card
from ffseq.checkpoint import load_checkpoint, save_checkpoint
from ffseq.cli import main
from ffseq.errors import FfseqError
from ffseq.network import SequenceNetwork

TOKEN = "hf_may_write"


class Hub(Answering):
    """As much of the Hub's HTTP as push and pull need: repositories of one commit, in which no file is large."""

    repos: dict[str, dict[str, bytes]]
    sha = "0123456789" * 4

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":
            yaml.safe_load(json.loads(body)["content"].split("---")[1])
            return self.answer({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "no"}, 403 if "Authorization" in self.headers else 401)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.repos.setdefault(f"{asked['organization']}/{asked['name']}", {})
            return self.answer({"url": f"{self.address}/{asked['organization']}/{asked['name']}"})
        if self.path.endswith("/preupload/main"):
            files = [one["path"] for one in json.loads(body)["files"]]
            return self.answer({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in files]})
        repo = self.repos[self.path.removeprefix("/api/models/").removesuffix("/commit/main")]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repo[value["path"]] = base64.b64decode(value["content"])
        return self.answer({"commitUrl": f"{self.address}/someone/any/commit/{self.sha}", "commitOid": self.sha})

    def do_GET(self) -> None:
        *_, owner, name = self.path.removeprefix("/api/models").split("/revision/")[0].split("/tree/")[0].split("/")[:3]
        repo = self.repos.get(f"{owner}/{name}")
        if repo is None:
            return self.answer({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        if "/revision/" in self.path:
            return self.answer({"id": f"{owner}/{name}", "sha": self.sha, "siblings": [{"rfilename": p} for p in repo]})
        if "/tree/" in self.path:
            tags = {path: hashlib.sha1(content).hexdigest() for path, content in repo.items()}
            return self.answer([{"type": "file", "path": p, "size": len(repo[p]), "oid": tags[p]} for p in repo])
        content = repo[self.path.split(f"/resolve/{self.sha}/")[1]]
        return self.answer(content, 200, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": self.sha})

    do_HEAD = do_GET

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, bytes]]]:
    """The repositories of a Hub of our own, where HF_ENDPOINT points as long as the test lasts."""
    handler = type("Handler", (Hub,), {"repos": {}})
    with served(handler, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield handler.repos  # type: ignore[attr-defined]


def header(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def test_push_and_pull(hub: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    network = small_network(memory=16, memory_lengths="2")
    address = network.push_to_hub("someone/small", private=True)
    assert address.endswith("/someone/small")
    assert hub["someone/small"].keys() == {
        "README.md", "alphabet.json", "config.json", "manifest.json", "model.safetensors",
    }  # fmt: skip
    copy = SequenceNetwork.from_pretrained("someone/small")
    torch.testing.assert_close(copy.score("abcde"), network.score("abcde"), rtol=0, atol=0)
    # A folder of that name comes first; hub: never means one.
    small_network(seed=5).save_pretrained(tmp_path / "someone" / "small")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert not torch.equal(SequenceNetwork.from_pretrained("someone/small").score("abcde"), network.score("abcde"))
        assert torch.equal(SequenceNetwork.from_pretrained("hub:someone/small").score("abcde"), network.score("abcde"))


def test_share_a_run_and_use_it_from_there(
    hub: dict[str, dict[str, bytes]], run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = as_json(capsys, "share", run_folder, "--to", "hub:someone/cats", "--license", "mit", "--quiet")
    assert shared["to"].endswith("/someone/cats")
    files = hub["someone/cats"]
    assert {name: len(content) for name, content in files.items()} == shared["files"]
    assert not [name for name in files if name.startswith("trainer_state")]
    assert not [name for name, content in files.items() if str(Path(run_folder).parent).encode() in content]
    prompt = ["--start", "the ", "--max_new_tokens", "20"]
    there = as_json(capsys, "sample", "hub:someone/cats", *prompt)
    assert there == as_json(capsys, "sample", run_folder, *prompt)
    # The card says what result.json says.
    card, result = files["README.md"].decode(), json.loads((Path(run_folder) / "result.json").read_text())
    assert header(card) | {"library_name": "ffseq", "license": "mit", "pipeline_tag": "text-generation"} == header(card)
    assert f"| this network | {result['bits_per_character']:.3f} | {result['accuracy']:.1%} |" in card
    floor = result["floors"]["kneser_ney"]
    assert f"| Kneser-Ney, order {floor['order']} | {floor['bits_per_character']:.3f} |" in card
    assert "80/10/10" in card
    assert "scope `all`" in card
    assert 'from_pretrained("someone/cats")' in card
    settings = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert settings["units"] == 16
    assert "threads" not in settings


def test_what_the_hub_refuses_is_a_sentence(
    hub: dict[str, dict[str, bytes]],
    run_folder: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import constants

    share = ["share", run_folder, "--to", "hub:someone/cats"]
    assert "no such model, or it is private" in refused(capsys, "sample", "hub:someone/dogs", status=1)
    with pytest.raises(FfseqError, match="no such model"):
        SequenceNetwork.from_pretrained("runs/misspelt")
    hub["someone/else"] = {"config.json": b"{}"}
    assert "not a network of ffseq" in refused(capsys, "evaluate", "hub:someone/else", status=1)
    monkeypatch.setenv("HF_TOKEN", "hf_reads_only")
    assert "your token may not write there" in refused(capsys, *share, status=1)
    monkeypatch.delenv("HF_TOKEN")
    assert "nobody is logged in" in refused(capsys, *share, status=1)
    assert "someone/cats" not in hub
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in refused(capsys, *share, status=1)
    assert "cannot be reached" in refused(capsys, "sample", "hub:someone/cats", status=1)
    assert "hub:owner/name" in refused(capsys, "sample", "hub:cats", status=2)


@pytest.mark.parametrize("named", [{"goodness": "os:system"}, {"black_box": "os:system"}])
def test_a_network_of_the_hub_does_not_name_code_to_be_run(
    named: dict[str, str], hub: dict[str, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_network().save_pretrained(tmp_path / "net")
    there = load_checkpoint(tmp_path / "net")
    config = there.config | {"network": there.config["network"] | named}
    save_checkpoint(tmp_path / "net", config=config, model=there.model, alphabet=there.alphabet)
    hub["someone/net"] = {path.name: path.read_bytes() for path in (tmp_path / "net").iterdir()}
    with pytest.raises(FfseqError, match="names code of its own, os:system"):
        SequenceNetwork.from_pretrained("someone/net")
    assert "names code of its own" in refused(capsys, "sample", "hub:someone/net", status=1)


def test_share_into_a_folder(run_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = str(tmp_path / "shared")
    assert as_json(capsys, "share", run_folder, "--to", to)["to"] == to
    one, two = SequenceNetwork.from_pretrained(to), SequenceNetwork.from_pretrained(run_folder)
    assert torch.equal(one.score("the cat"), two.score("the cat"))
    assert "give the name of a new folder" in refused(capsys, "share", run_folder, "--to", to, status=2)
    assert "--to hub:nobody/x" in refused(capsys, "share", run_folder, "--to", "nobody/x", status=2)
    assert "say where" in refused(capsys, "share", run_folder, status=2)
    refused(capsys, "share", "nowhere", "--to", str(tmp_path / "more"), status=1)
    assert not (tmp_path / "more").exists()
    # Another checkpoint of the run than the one that was measured has no figures; a card that was edited stays.
    assert main(["share", f"{run_folder}/last", "--to", str(tmp_path / "last")]) == 0
    assert "No figures were measured" in (tmp_path / "last" / "README.md").read_text()
    (tmp_path / "shared" / "README.md").write_text("mine")
    one.save_pretrained(to)
    assert (tmp_path / "shared" / "README.md").read_text() == "mine"
    assert (
        load_checkpoint(tmp_path / "shared").config["network"] == load_checkpoint(tmp_path / "last").config["network"]
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scope": "own"}, "its own goodness alone"),
        ({"scope": "below"}, "that of the layers below"),
        ({"method": "twin"}, "By **backpropagation**"),
        ({"hidden": "random"}, "stayed as they were drawn"),
    ],
)
def test_the_card_says_how_local_learning_was(options: dict[str, str], words: str) -> None:
    config = {"network": {"stack": "window", "layers": 2, "units": 3}, "options": {"corpus": "x.txt"} | options}
    card = model_card("owner/name", config, symbols=5, parameters=7)
    assert words in card
    assert header(card)["library_name"] == "ffseq"
