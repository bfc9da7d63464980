"""A corpus on the command line: a network learns to write, and writes."""

import math
import re

import numpy as np
import pytest

pytest.importorskip("click")
pytest.importorskip("pandas")
pytest.importorskip("matplotlib")

import pycnn
from pycnn import text

LINE = "the cat sat on the mat;\n"


@pytest.fixture(autouse=True)
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "corpus.txt"
    path.write_text(LINE * 40, "utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model file, and what its training has printed."""
    import contextlib
    import io

    from pycnn.cli import commands

    folder = tmp_path_factory.mktemp("text")
    (folder / "corpus.txt").write_text(LINE * 40, "utf-8")
    model = folder / "model.safetensors"
    arguments = ["train", "--text", folder / "corpus.txt", "--hidden", 24, "--batch-size", 32]
    arguments += ["--epochs", 12, "--learning-rate", 0.02, "--seed", 1, "--out", model]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert commands.run([str(argument) for argument in arguments]) == 0
    return model, out.getvalue()


def test_it_learns_to_write_and_tells_how_far_it_is(trained):
    model, out = trained
    assert "corpus.txt: 960 characters, 12 different tokens; the last 96 held out" in out
    assert "network   16x32-24-12, reads 16 characters" in out
    told = re.findall(r"epoch (\d+) of 12: loss (.*), perplexity (.*); held out (.*), (.*)", out)
    assert len(told) == 12
    for _, loss, perplexity, held_out, of_held_out in told:
        assert float(perplexity) == pytest.approx(math.exp(float(loss)), abs=0.006)
        assert float(of_held_out) == pytest.approx(math.exp(float(held_out)), abs=0.006)
    assert float(told[-1][1]) < 0.1 < float(told[0][1])
    assert float(re.search(r"perplexity  (.*)", out)[1]) < 1.1
    assert "the cat sat on the mat;\nthe cat sat" in out.split("it writes")[1]
    assert model.with_suffix(".png").exists()


def test_the_model_keeps_how_text_becomes_tokens(trained):
    net = pycnn.load(trained[0])
    tokenizer = text.from_metadata(net.metadata["tokenizer"])
    assert tokenizer == text.CharacterTokenizer.fit(LINE, fallback=False)
    assert isinstance(net.input_shape, pycnn.Tokens)
    assert net.metadata["corpus"] == "corpus.txt"


def test_it_goes_on_from_a_prompt(trained, succeed):
    model, _ = trained
    options = ("--temperature", 0, "--count", len(LINE))
    assert succeed("generate", model, "--prompt", LINE, *options) == LINE * 2 + "\n"
    out = succeed("generate", model, "--prompt", LINE[:4], *options)
    assert out.startswith(LINE[:4])
    assert len(out) == 4 + len(LINE) + 1
    assert succeed("generate", model, "--count", 0) == "\n"


def test_the_seed_decides(trained, succeed):
    model, _ = trained
    settings = ("--temperature", 5, "--count", 60, "--prompt", LINE)
    one, again, other = (succeed("generate", model, *settings, "--seed", n) for n in (1, 1, 2))
    assert one == again != other
    few = succeed("generate", model, *settings, "--seed", 1, "--top-k", 2, "--top-p", 0.9)
    assert few != one
    net = pycnn.load(model)
    tokenizer = text.from_metadata(net.metadata["tokenizer"])
    written = net.generate(tokenizer.encode(LINE), 60, temperature=5.0, seed=1)
    assert one == LINE + tokenizer.decode(written) + "\n"


def test_a_corpus_that_is_no_utf_8_is_learned_as_bytes(corpus, pycnn_command, succeed):
    corpus.write_bytes(("é".encode("latin-1") + b"t\xff\n") * 100)
    settings = ("--hidden", "none", "--epochs", 1, "--no-plot", "--quiet")
    status, _, err = pycnn_command("train", "--text", corpus, *settings)
    assert status == 0
    assert "is not UTF-8 text; what is none is learned as bytes" in err
    tokenizer = text.from_metadata(pycnn.load("model.safetensors").metadata["tokenizer"])
    assert tokenizer.fallback
    assert "\ufffd" in succeed("generate", "model.safetensors", "--count", 30, "--seed", 0)
    succeed("train", "--text", corpus, *settings, "--encoding", "latin-1")
    tokenizer = text.from_metadata(pycnn.load("model.safetensors").metadata["tokenizer"])
    assert tokenizer.characters == "\ntéÿ"


def test_what_the_model_is_is_said(trained, succeed, fail, corpus):
    model, _ = trained
    out = succeed("info", model)
    assert "12 different tokens" in out
    assert "epochs, seed 1, corpus.txt" in out
    for command in ("predict", "evaluate"):
        assert "the model writes text" in fail(command, model, corpus)


REFUSED = [
    (("train", "--text", "none.txt"), "none.txt: No such file"),
    (("train", "--text", "corpus.txt", "--text", "b.txt"), "--text takes one corpus, got 2"),
    (("train", "--text", "corpus.txt", "--target", "x"), "--target is for a table or images"),
    (("train", "--text", "corpus.txt", "--class-weight", "balanced"), "--class-weight is for"),
    (("train", "--text", "corpus.txt", "--grey"), "--grey is for a table or images"),
    (("train", "--text", "corpus.txt", "--na", "x"), "--na is for a table or images"),
    (("train", "--text", "corpus.txt", "--encoding", "utf-99"), "no text encoding 'utf-99'"),
    (("train", "--text", "latin.txt", "--encoding", "ascii"), "latin.txt is not ascii text"),
    (("train", "--text", "empty.txt"), "empty.txt is empty"),
    (("train", "--text", "short.txt"), "which are too few to read 16 at a time"),
    (("train", "--text", "corpus.txt", "--test-size", "0"), "too few to read 16 at a time"),
    (("train", "--text", "corpus.txt", "--optimizer", "adm"), "did you mean 'adam'"),
    (("train", "--text", "one.txt"), "one.txt has one character only"),
    (("generate", "digits.safetensors"), "the model keeps no tokenizer"),
    (("generate", "other.safetensors"), "the model's tokenizer does not fit its network"),
    (("generate", "hostile.safetensors"), "the model's tokenizer is none"),
    (
        ("generate", "mine.safetensors", "--prompt", "Öl"),
        "'Ö' as character 0, which the corpus had",
    ),
    (("generate", "mine.safetensors", "--temperature", "-1"), "temperature must be finite and"),
    (("generate", "mine.safetensors", "--top-p", "2"), "top_p must be finite and above 0"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_done_is_refused(corpus, fail, arguments, message):
    for name, content in (
        ("empty", b""),
        ("short", b"abc"),
        ("latin", b"\xe9"),
        ("one", b"a" * 999),
    ):
        (corpus.parent / f"{name}.txt").write_bytes(content)
    pycnn.Network(2, [pycnn.Dense(1)], seed=0).save("digits.safetensors")
    net = pycnn.Network(
        pycnn.Tokens(3, length=2), [pycnn.Embedding(2), pycnn.Flatten(), pycnn.Dense(3, "softmax")]
    )
    for name, kept in (
        ("other", text.BytePairTokenizer().to_metadata()),
        ("hostile", {"kind": "character"}),
        ("mine", text.CharacterTokenizer("abc", fallback=False).to_metadata()),
    ):
        net.metadata["tokenizer"] = kept
        net.save(f"{name}.safetensors")
    assert message in fail(*arguments)


def test_dropout_and_penalty_are_taken(corpus, succeed):
    settings = ("--hidden", 8, "--dropout", 0.1, "--l2", 0.01, "--epochs", 1, "--no-plot")
    succeed("train", "--text", corpus, *settings, "--optimizer", "sgd", "--quiet")
    net = pycnn.load("model.safetensors")
    assert [layer.kind for layer in net.layers[2:]] == ["dense", "dropout", "dense"]
    assert net.l2 == 0.01
    assert np.isfinite(net.parameters).all()
