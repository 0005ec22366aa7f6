"""A report says what a folder of runs comes to, in each of its forms."""

import csv
import re
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from scipy import stats

import amago_jax
from amago_jax import ConfigError
from amago_jax.reports import make_report, write_report
from amago_jax.reports.statistics import Bootstrap, Estimate
from amago_jax.reports.writing import report
from amago_jax.runs.cli import folders_given
from run_folders import write_run

ROOT = Path(__file__).parents[2]
QUICK = Bootstrap(resamples=200)
STOP = {"return": 1.0, "evaluations": 2}
SLOW, FAST = [0.0, 0.5, 0.25, 0.0], [0.0, 1.0, 1.0]
NAN = {"status": "failed", "reason": "the loss became nan"}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two settings of a task, one of another; a failed run, an empty one, one still going."""
    top = tmp_path_factory.mktemp("sweep")
    for seed in range(3):
        shared = {"seed": seed, "stop": STOP}
        write_run(top / f"slow/{seed}", SLOW, agent={"tau": 0.1}, **shared)
        write_run(top / f"fast/{seed}", FAST, epochs=4, agent={"tau": 0.2}, **shared)
    write_run(top / "slow/3", [9.0] * 4, outcome=NAN, agent={"tau": 0.1}, seed=3, stop=STOP)
    write_run(top / "slow/4", [], agent={"tau": 0.1}, seed=4, stop=STOP)
    write_run(top / "fast/5", [0.0], epochs=4, agent={"tau": 0.2}, seed=5, stop=STOP)
    other = {"env": {"env_id": "other/task"}, "agent": {"tau": 0.1}}
    write_run(top / "other/0", [3.0], seed=0, stop=STOP, **other)
    (top / "broken").mkdir()
    (top / "broken" / "metrics.jsonl").write_text("nonsense\n")
    return top


@pytest.fixture(scope="module")
def made(sweep):
    return make_report(sweep, bootstrap=QUICK)


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return {path.name: path for path in write_report(made, folder)}


def records(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_statistics_are_over_the_complete_runs_of_a_setting(made):
    fast, slow, other = records(made.tables["settings"])
    names = [(line["task"], line["setting"]) for line in (fast, slow, other)]
    assert names == [
        ("some/task", "agent.tau=0.2"),
        ("some/task", "agent.tau=0.1"),
        ("other/task", "other/task"),
    ]
    counts = [(line["seeds"], line["failed"], line["others"]) for line in (fast, slow, other)]
    assert counts == [(3, 0, 1), (3, 1, 1), (1, 0, 0)]
    assert slow["mean"] == Estimate(0.25, 0.25, 0.25)  # of the last three evaluations
    assert fast["interquartile mean"].value == pytest.approx(2 / 3)
    assert other["median"] == Estimate(3.0)
    assert (slow["steps"], slow["updates"], slow["seconds"]) == (40, 20, 4)


def test_statistics_are_scipys(tmp_path):
    finals = {0.1: [0.0, 3.0, 1.0, 1.0, 7.0], 0.2: [1.0, 2.0, 8.0]}
    for tau, values in finals.items():
        for seed, value in enumerate(values):
            write_run(tmp_path / f"{tau}/{seed}", [value], agent={"tau": tau}, seed=seed)
    found = make_report(tmp_path, bootstrap=QUICK)
    for line in records(found.tables["settings"]):
        values = finals[float(line["setting"].partition("=")[2])]
        assert line["mean"].value == pytest.approx(np.mean(values))
        assert line["median"].value == np.median(values)
        assert line["interquartile mean"].value == pytest.approx(stats.trim_mean(values, 0.25))
        assert line["mean"].low < line["mean"].value < line["mean"].high
    (pair,) = records(found.tables["improvement"])
    assert (pair["setting"], pair["better than"]) == ("agent.tau=0.2", "agent.tau=0.1")
    expected = stats.mannwhitneyu(finals[0.2], finals[0.1]).statistic / 15
    assert pair["probability"].value == pytest.approx(expected)
    # Those two are not told apart: the interval holds a half.
    assert pair["probability"].low < 0.5 < pair["probability"].high
    assert [one.setting.name for one in found.best("some/task")] == [
        "agent.tau=0.2",
        "agent.tau=0.1",
    ]


def test_the_best_setting_of_a_task_and_how_probably_it_is_better(made):
    (pair,) = records(made.tables["improvement"])
    assert (pair["task"], pair["setting"]) == ("some/task", "agent.tau=0.2")
    assert pair["probability"] == Estimate(1.0, 1.0, 1.0)
    assert [one.setting.name for one in made.best("some/task")] == ["agent.tau=0.2"]


def test_times_to_a_score(made, sweep):
    assert made.question.score == 1.0  # where the runs stop
    fast, slow, other = records(made.tables["score"])
    assert (fast["reached"], fast["steps"], fast["updates"], fast["seconds"]) == (3, 20, 10, 2)
    assert (slow["reached"], slow["seeds"], slow["steps"]) == (0, 3, None)
    assert (other["reached"], other["steps"]) == (1, 10)
    lower = make_report(sweep, score=0.5, bootstrap=QUICK)
    assert [line["steps"] for line in records(lower.tables["score"])] == [20, 20, 10]
    eaten = make_report(sweep, metric="evaluation/success/eat", bootstrap=QUICK)
    assert "score" not in eaten.tables


def test_runs_without_a_result_are_named_with_their_reason(made, sweep):
    told = dict(made.tables["troubles"].rows)
    assert told.pop(str(sweep / "broken")).startswith("unreadable: ")
    assert told == {
        str(sweep / "slow/3"): "failed: the loss became nan",
        str(sweep / "slow/4"): "unfinished, without a row yet",
        str(sweep / "fast/5"): "unfinished; in curves alone",
    }
    every = {line["folder"]: line for line in records(made.tables["runs"])}
    assert every[str(sweep / "fast/0")]["status"] == "complete, stopped early"
    assert every[str(sweep / "slow/3")]["final"] is None
    assert every[str(sweep / "fast/5")]["final"] == 0.0


def test_curves_go_on_with_the_seeds_that_stopped(made):
    at = [
        (line["at"], line["mean"].value)
        for line in records(made.tables["curves"])
        if (line["over"], line["setting"]) == ("steps", "agent.tau=0.1")
    ]
    assert (at[0], at[-1]) == ((10.0, 0.0), (40.0, 0.0))
    panels = made.curves["some/task"]
    assert list(panels) == ["steps", "updates", "seconds"]
    fast = panels["steps"][0]
    assert (fast.words, fast.mean.xs[-1]) == ("agent.tau=0.2 (3 of 4 seeds)", 30.0)


def test_a_seed_counted_twice_is_named(tmp_path):
    for again in range(2):
        write_run(tmp_path / str(again), [1.0], seed=7)
    write_report(make_report(tmp_path, bootstrap=QUICK), tmp_path, ["markdown"])
    assert "Counted twice: seed 7 of some/task" in (tmp_path / "report.md").read_text()


def test_markdown_holds_tables_and_pictures(written):
    text = written["report.md"].read_text()
    counts = "11 runs (7 complete, 2 unfinished, 1 unreadable, 1 failed) of 3 settings in 2 tasks."
    assert counts in text
    assert "| agent.tau=0.1 | 3 | 1 | 1 | 0.250 [0.250, 0.250] |" in text
    assert "| other/task | 1 | 0 | 0 | 3.000 (one seed) |" in text
    assert "Best in some/task: agent.tau=0.2, with an interquartile mean of 0.667." in text
    assert "failed: the loss became nan" in text
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert imread(written[picture]).shape[:2] == (900, 1200)
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(tables) == 8
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_csv_holds_every_number(written):
    with written["settings.csv"].open() as file:
        fast, slow, other = csv.DictReader(file)
    assert float(slow["mean low"]) == 0.25
    assert float(fast["interquartile mean"]) == pytest.approx(2 / 3)
    assert (other["mean"], other["mean low"]) == ("3.0", "")
    with written["curves.csv"].open() as file:
        assert {line["over"] for line in csv.DictReader(file)} == {"steps", "updates", "seconds"}


class Page(HTMLParser):
    """What a page refers to, its tags and its text."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_needs_no_other_file(written, tmp_path):
    text = written["report.html"].read_text()
    page = Page(text)
    assert page.open == []
    assert len(page.found) == 2
    assert all(value.startswith("data:image/png;base64,") for value in page.found)
    assert not re.search(r"https?://|@import|url\(", text)
    assert "0.250 [0.250, 0.250]" in page.words
    folder = write_run(tmp_path / "<b>", [1.0], label="<i>&amp;")
    write_report(make_report(folder, bootstrap=QUICK), tmp_path, ["html"])
    escaped = Page((tmp_path / "report.html").read_text())
    assert "<i>&amp;" in escaped.words
    assert escaped.open == []


def run(*overrides):
    return report(amago_jax.compose([*overrides, "resamples=100"], "report"))


def test_the_command_writes_what_is_asked_for(sweep, tmp_path, capsys):
    files = run(f"folders={sweep}/slow", f"output={tmp_path}/x", "formats=[csv]", "last=1")
    assert {path.suffix for path in files} == {".csv"}
    assert "settings.csv" in capsys.readouterr().out
    with (tmp_path / "x" / "settings.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert float(line["mean"]) == 0.0
    write_run(tmp_path / "y", [1.0])
    assert run(f"folders=[{tmp_path}/y]", "formats=[markdown]") == [
        tmp_path / "y" / "report" / "report.md"
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["folders=[/nowhere]"], r"folders=/nowhere: there is no run"),
        (["metric=evaluation/retrun"], r"metric='evaluation/retrun' .*did you mean evaluation/ret"),
        (["metric=evaluation/success/make"], r"of .*/0, the first: .*without a value of eval"),
        (["formats=[pdf]"], r"formats=\['pdf'\]: 'pdf': choose from csv, html, markdown, png"),
        (["last=0"], r"last=0 must be"),
        (["formats=pdf"], r"formats=\['pdf'\]"),
        (["score=high"], r"score='high' must be a number"),
        (["confidence=null"], r"confidence=None must be a number above 0 and below 1"),
        (["confidence=95"], r"confidence=95 must be a number above 0 and below 1"),
    ],
)
def test_what_cannot_be_reported_is_said(sweep, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run(f"folders=[{sweep}/other]", f"output={tmp_path}", *overrides)


def test_folders_are_given_as_they_are(tmp_path):
    odd = tmp_path / "it's lr=0.1,a [b]"
    odd.mkdir()
    arguments = folders_given([str(odd), "runs/b", "last=2", "--cfg", "job"])
    assert arguments[:3] == ["last=2", "--cfg", "job"]
    config = amago_jax.compose([arguments[3], arguments[0]], "report")
    assert (config.folders, config.last) == ([str(odd), "runs/b"], 2)
    assert folders_given(["folders=[a]"]) == ["folders=[a]"]


def test_a_page_of_many_settings_shows_the_best(tmp_path):
    for number in range(23):
        for seed in range(2):
            folder = tmp_path / f"{number}/{seed}"
            write_run(folder, [number + seed / 4], agent={"tau": number}, seed=seed)
    found = make_report(tmp_path, bootstrap=Bootstrap(resamples=20))
    assert len(found.tables["improvement"].rows) == 23 * 22 / 2
    written = write_report(found, tmp_path / "report", ["markdown"])
    text = written[0].read_text()
    pairs = re.findall(r"\| agent\.tau=(\d+) \| agent\.tau=(\d+) \| [\d.]+ \[", text)
    assert pairs == [("22", str(other)) for other in range(21, -1, -1)]


def test_settings_of_one_seed_each_are_compared_by_nothing_but_their_value(tmp_path):
    for number in range(12):
        write_run(tmp_path / str(number), [number], agent={"tau": number})
    found = make_report(tmp_path, bootstrap=QUICK)
    assert found.tables["improvement"].rows == []
    text = write_report(found, tmp_path / "report", ["markdown"])[0].read_text()
    assert "do not tell apart from it: agent.tau=10; " in text
    assert "agent.tau=3; and 3 more." in text


def test_the_script_takes_folders_as_they_are(sweep, tmp_path, monkeypatch, capsys):
    arguments = [f"{sweep}/fast", f"{sweep}/slow", f"output={tmp_path}", "resamples=100"]
    monkeypatch.setattr(sys, "argv", ["report.py", *arguments])
    runpy.run_path(str(ROOT / "scripts" / "report.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "9 runs (6 complete, 2 unfinished, 1 failed) of 2 settings in 1 task." in printed
    assert (tmp_path / "report.html").is_file()
    monkeypatch.setattr(sys, "argv", ["report.py", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="1"):
        runpy.run_path(str(ROOT / "scripts" / "report.py"), run_name="__main__")
    assert "error: folders=" in capsys.readouterr().err


def test_a_task_whose_runs_all_failed_has_no_number_and_no_picture(tmp_path):
    write_run(tmp_path / "a", [1.0])
    for tau in range(2):
        other = {"env": {"env_id": "other/task"}, "agent": {"tau": tau}}
        write_run(tmp_path / f"b{tau}", [], outcome=NAN, **other)
    found = make_report(tmp_path, bootstrap=QUICK)
    names = [path.name for path in write_report(found, tmp_path / "report")]
    assert [name for name in names if name.endswith(".png")] == ["curves.png"]
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| agent.tau=1 | 0 | 1 | 0 |  |  |  |  |  |  |" in text
    assert "other/task: no run is complete, so that none is best." in text


def test_the_example_runs_and_the_stored_report_is_what_its_runs_give(tmp_path, monkeypatch):
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/reports.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert (tmp_path / "report" / "report.html").is_file()
    assert len(names["report"].runs) == 18
    assert names["report"].passed_over == {}
    write_report(names["report"], tmp_path / "again", ["markdown"])
    stored = (tmp_path / "docs/results/hindsight/report/report.md").read_text().splitlines()
    again = (tmp_path / "again" / "report.md").read_text().splitlines()
    assert [line for line in again if line] == [
        line for line in stored if line and not line.startswith("![")
    ]


def test_runs_that_have_not_been_evaluated_are_told_as_such(tmp_path):
    for seed, every in enumerate([4, 4, None]):
        folder = tmp_path / str(seed)
        write_run(folder, [1.0, 2.0], every=4, seed=seed, evaluation={"every": every})
    told = (
        "none of the 3 runs has been evaluated: they have come to epoch 2 at most, "
        "with evaluation.every=4 or None"
    )
    with pytest.raises(ConfigError, match=told):
        make_report(tmp_path)
    with pytest.raises(ConfigError, match="metric='evaluation/retrun' is logged by no run"):
        make_report(tmp_path, metric="evaluation/retrun")
    # Of a run that failed there is more to say.
    write_run(tmp_path / "0", [1.0], every=4, outcome={"status": "failed", "reason": "NaN"})
    with pytest.raises(ConfigError, match="is logged by no run"):
        make_report(tmp_path)
