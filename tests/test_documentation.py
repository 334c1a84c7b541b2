"""The code blocks of README.md and docs/: Python runs, commands are understood, and output is what is printed."""

import functools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from blurjax.cli.arguments import make_parser
from blurjax.config import loading as settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"python", "bash", "json", "text", "bibtex"}
"""What a block can be; text is a formula, a signature or a format, and bibtex the citation."""
NOT_RUN = {
    "git clone ADDRESS": "needs the address of the repository",
    "./scripts/demo": "installs packages and runs an experiment; CI runs it",
    "./scripts/test": "installs packages and runs the tests themselves",
    "pip install -c constraints.txt .": "installs packages; scripts/test does the same",
    "sbatch": "needs SLURM; tests/cli/test_launchers.py checks the script",
    "scripts/tpu_vm.sh": "needs a TPU VM; tests/cli/test_launchers.py checks the script",
}
"""Beginning of a command -> why it is not tried here."""
QUICK = {
    "autoencoder.epochs": 1,
    "classifier.epochs": 1,
    "sweep.num_seeds": 2,
    "data.train_examples": 100,
}
"""Settings with which an experiment of the docs is run."""
PRELUDE = f"""
import blurjax
load = blurjax.load_config
blurjax.load_config = lambda preset=None, overrides=None: load(preset, (overrides or {{}}) | {QUICK})
"""


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self):
        return f"{self.page.name}:{self.line}"


def blocks(page):
    """All fenced blocks of a page, in order."""
    found, start = [], None
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        if line.startswith("```"):
            if start is None:
                start = number
            else:
                language = lines[start - 1].removeprefix("```")
                found.append(Block(page, start, language, "\n".join(lines[start : number - 1])))
                start = None
    assert start is None, f"{page.name}:{start} is not closed"
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]


def of_language(language):
    return [pytest.param(b, id=b.name) for b in BLOCKS if b.language == language]


def commands(block):
    """The commands of a block as lists of words, without comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def run_python(tmp_path_factory):
    """Runs a block after those before it on its page, each once, in a directory of the page."""

    @functools.cache
    def directory(page):
        return tmp_path_factory.mktemp(page.stem)

    @functools.cache
    def run(block):
        file = directory(block.page) / f"line_{block.line}.py"
        file.write_text(PRELUDE * ("load_config" in block.text) + block.text)
        return subprocess.run(
            [sys.executable, file], cwd=file.parent, capture_output=True, text=True, timeout=600
        )

    def run_with_those_before(block):
        of_page = [b for b in BLOCKS if b.page == block.page and b.language == "python"]
        for before in of_page[: of_page.index(block) + 1]:
            result = run(before)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run_with_those_before


def test_every_block_names_its_language():
    assert not [b.name for b in BLOCKS if b.language not in LANGUAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_is_fenced_not_indented(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    paragraphs = re.split(r"\n\s*\n", text)
    indented = [i for i, p in enumerate(paragraphs) if p.startswith("    ")]
    assert not [i for i in indented if not re.match(r"\s*([-*]|\d+\.) ", paragraphs[i - 1])]


@pytest.mark.slow
@pytest.mark.parametrize("block", of_language("python"))
def test_python_runs_and_prints_what_is_shown(block, run_python):
    printed = run_python(block)
    after = BLOCKS[BLOCKS.index(block) + 1 :][:1]
    if printed and after and after[0].page == block.page and after[0].language == "text":
        number = r"\d+\.\d+"
        shown = after[0].text
        assert re.sub(number, "#", printed.strip()) == re.sub(number, "#", shown)
        values = [[float(x) for x in re.findall(number, text)] for text in (printed, shown)]
        assert values[0] == pytest.approx(values[1], abs=0.05)


def test_the_engine_is_introduced_by_a_short_complete_example():
    first = next(block for block in BLOCKS if block.page.name == "engine.md")
    assert first.language == "python"
    assert len(first.text.splitlines()) < 30


def write_modules(page, directory):
    """Writes the Python blocks of a page that begin with the name of a file."""
    for block in BLOCKS:
        first = block.text.split("\n")[0]
        if block.page == page and re.fullmatch(r"# \w+\.py", first):
            (directory / first.removeprefix("# ")).write_text(block.text)


@functools.cache
def help_of(script):
    known = subprocess.run(
        [sys.executable, ROOT / script, "--help"], capture_output=True, text=True
    )
    assert known.returncode == 0, known.stderr
    return known.stdout


@pytest.mark.slow
@pytest.mark.parametrize("block", of_language("bash"))
def test_commands_are_understood(block, tmp_path):
    assert commands(block)
    for words in commands(block):
        command = " ".join(words)
        if "--import" in words:
            write_modules(block.page, tmp_path)
            planned = [sys.executable, "-m", *words, "--dry-run"]
            result = subprocess.run(planned, cwd=tmp_path, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
        elif words[0] == "blurjax":
            words = words[: words.index(">")] if ">" in words else words
            parsed = make_parser().parse(words[1:])
            if parsed.command == "run":
                keys = [key for key, _ in settings.fields() if hasattr(parsed, key)]
                settings.load(parsed.preset, {key: getattr(parsed, key) for key in keys})
        elif words[0] == "python":
            options = [word for word in words[2:] if word.startswith("--")]
            assert not [option for option in options if option not in help_of(words[1])]
        else:
            assert command.startswith(tuple(NOT_RUN)), command
            if "scripts/" in words[0]:
                assert (ROOT / words[0]).is_file()


def test_every_reason_not_to_run_a_command_is_needed():
    lines = [" ".join(words) for b in BLOCKS if b.language == "bash" for words in commands(b)]
    assert not [
        beginning for beginning in NOT_RUN if not any(x.startswith(beginning) for x in lines)
    ]


@pytest.mark.parametrize("block", of_language("json") or [pytest.param(None, id="none")])
def test_json_can_be_read(block):
    if block is not None:
        json.loads(block.text)


def links(page):
    """The files and headings that a page links to, but for those of the web."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            path, _, heading = target.partition("#")
            yield (page.parent / path).resolve() if path else page, heading


def headings(page):
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for path, heading in links(page):
        assert path.exists(), path
        assert not heading or heading in headings(path), f"{path.name}#{heading}"


def test_every_page_is_reached_from_the_readme():
    reached, new = set(), {PAGES[0]}
    while new:
        reached |= new
        new = {path for page in new for path, _ in links(page) if path in PAGES} - reached
    assert reached == {*PAGES}
    assert {"start.md", "api.md"} <= {path.name for path, _ in links(PAGES[0])}
