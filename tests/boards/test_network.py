"""The network of a bench: where the pass-phrase comes from, and that it is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig import cli
from rig.boards.bench import parse_bench
from rig.boards.network import Network
from rig.errors import BenchError

FILE = Path("bench.toml")
PHRASE = "correct horse"
Capsys = pytest.CaptureFixture[str]


def test_the_pass_phrase_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_PSK", PHRASE)
    text = b'[network]\nssid = "lab"\npassphrase_env = "BENCH_PSK"\n'
    network = parse_bench(text, FILE).network
    assert network is not None
    assert network.passphrase() == PHRASE
    assert PHRASE not in repr(network)


def test_the_pass_phrase_comes_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "psk").write_text(PHRASE + "\n")
    text = f'[network]\nssid = "lab"\npassphrase_file = "{tmp_path / "psk"}"\n'
    network = parse_bench(text.encode(), FILE).network
    assert network is not None
    assert network.passphrase() == PHRASE


@pytest.mark.parametrize("key", ["passphrase", "password", "psk"])
def test_a_pass_phrase_in_the_file_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(BenchError) as caught:
        parse_bench(f'[network]\nssid = "lab"\n{key} = "{PHRASE}"\n'.encode(), FILE)
    assert caught.value.message.startswith(f"bench.toml:3:1: '{key}': a pass-phrase does not")
    assert "passphrase_env" in str(caught.value.hint)
    assert PHRASE not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ssid = 3", "bench.toml:2:1: ssid: expected str"),
        ('ssid = ""', "bench.toml:2:1: ssid: expected 1 to 32 bytes"),
        ('ssid = "a"\nsid = "b"', "bench.toml:3:1: unknown key 'sid'; did you mean 'ssid'?"),
        ('passphrase_env = "A"', "bench.toml:1:2: network: object missing required field ssid"),
        (
            'ssid = "a"\npassphrase_env = "A"\npassphrase_file = "b"',
            "bench.toml:4:1: passphrase_file: contradicts",
        ),
        ('ssid = "a"\nhostapd = "wlan0"', "bench.toml:3:1: hostapd: expected a path from /"),
        ('ssid = "a"\nhostapd = "/x"\nhotspot = "y"', "bench.toml:4:1: hotspot: contradicts"),
        ('ssid = "a"\nhotspot = "-x"', "bench.toml:3:1: hotspot: expected the name"),
        ('ssid = "a"\nmonitors = ["../x"]', "bench.toml:3:1: monitors: expected names"),
    ],
)
def test_what_is_wrong_with_the_network_is_pointed_at(text: str, words: str) -> None:
    with pytest.raises(BenchError) as caught:
        parse_bench(f"[network]\n{text}\n".encode(), FILE)
    assert caught.value.message.startswith(words)


def test_a_pass_phrase_that_is_not_there_or_too_short_is_said_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCH_PSK", raising=False)
    with pytest.raises(BenchError, match=r"is not in \$BENCH_PSK"):
        Network("lab", passphrase_env="BENCH_PSK").passphrase()
    monkeypatch.setenv("BENCH_PSK", "short")
    with pytest.raises(BenchError, match=r"in \$BENCH_PSK has 5 bytes") as caught:
        Network("lab", passphrase_env="BENCH_PSK").passphrase()
    assert "short" not in str(caught.value)
    with pytest.raises(BenchError, match="No such file"):
        Network("lab", passphrase_file=tmp_path / "none").passphrase()


def test_bench_check_says_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.setenv("BENCH_PSK", PHRASE)
    path = tmp_path / "bench.toml"
    path.write_text(
        '[network]\nssid = "lab"\npassphrase_env = "BENCH_PSK"\n[boards.kit]\nusb = "1-1"\n'
    )
    assert cli.run(["bench", "check", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{path}: good: kit (serial); network lab\n"
    assert PHRASE not in said.out + said.err


def test_bench_check_ends_with_2_and_the_place(tmp_path: Path, capsys: Capsys) -> None:
    path = tmp_path / "bench.toml"
    path.write_text('[boards.kit]\nconsle = "x"\n')
    assert cli.run(["bench", "check", str(path)]) == 2
    assert f"{path}:2:1: unknown key 'consle'" in capsys.readouterr().err


def test_every_example_of_the_docs_is_a_good_bench() -> None:
    text = (Path(__file__).parents[2] / "docs" / "bench.md").read_text()
    examples = [part.partition("\n```")[0] for part in text.split("```toml\n")[1:]]
    assert len(examples) >= 6
    for example in examples:
        parse_bench(example.encode(), FILE)


def test_no_repr_shows_the_pass_phrase(monkeypatch):
    """`pytest -l` shows the local variables of each frame."""
    monkeypatch.setenv("BENCH_PSK", PHRASE)
    phrase = Network("lab", passphrase_env="BENCH_PSK").passphrase()
    assert PHRASE not in repr((phrase, {"key": phrase}))
    assert phrase == PHRASE


@pytest.mark.parametrize("phrase", ["no UTF-8 \udcff here", "a line end\n", "a\x1b[2J\x07 bell"])
def test_what_no_pass_phrase_can_be_is_one_error_that_does_not_show_it(monkeypatch, phrase):
    monkeypatch.setenv("BENCH_PSK", phrase)
    with pytest.raises(BenchError, match="control character") as told:
        Network("lab", passphrase_env="BENCH_PSK").passphrase()
    assert phrase not in str(told.value)
