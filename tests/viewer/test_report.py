"""The evaluation report."""

import json

import pytest
from spacy.training import Example

from spacy_eat.evaluation.run import Run, judge
from spacy_eat.viewer.charts import Line, bar, chart
from spacy_eat.viewer.report import report_page, sample_cases

from .docs import ZH, make_doc
from .test_markup import Page

LABELS = {"人": "PER", "LOC": "LOC", "ORG": "ORG", "PER": "PER"}


def make_run(*right: bool):
    """Docs with all entities right, or with a wrong label, a wrong boundary and a lost one."""
    examples = []
    for is_right in right:
        predicted, gold = make_doc("zh", ZH), make_doc("zh", ZH)
        gold.ents = [
            gold.char_span(e.start_char, e.end_char, "人" if e.label_ == "PER" else e.label_)
            for e in gold.ents
        ]
        if not is_right:
            predicted.ents = [
                predicted.char_span(0, 3, "ORG"),
                predicted.char_span(9, 12, "LOC"),
                *predicted.ents[2:-1],
            ]
        examples.append(Example(predicted, gold))
    run = Run(examples, 2.0, {"prompt_tokens": 0})
    result = {"pipeline": "zh_<b>", "gold": "gold & co.", **judge(run, label_map=LABELS.get)}
    return run, result


def test_it_has_the_scores_the_reasons_and_the_mistakes():
    run, result = make_run(True, False)
    html = report_page(result, sample_cases(result, run.examples, LABELS.get))
    page = Page(html)
    assert page.texts("h1") == ["zh_<b> on gold & co."]
    cells = page.texts("td")
    strict = result["strict"]
    assert f"{strict['f']:.3f}" in cells and "PER" in cells
    low, high = result["label_intervals"]["PER"]["low"], result["label_intervals"]["PER"]["high"]
    assert f"{low:.3f} to {high:.3f}" in cells and low < result["labels"]["PER"]["f"] < high
    kinds = {attrs["data-kind"] for _, attrs, _ in page.all("li") if "data-kind" in attrs}
    assert {"lost: wrong_label", "lost: wrong_boundary", "spurious: wrong_label"} <= kinds
    assert "wrong label" in cells and "predicted there, with another label" in cells
    assert len(page.all("figure", "chart")) == 2
    assert "Expected calibration error" in html
    gold = page.texts("p", "gold")
    assert len(gold) == 1 and gold[0].startswith("gold 柳传志") and "PER" in html and ">人<" not in html
    assert len(page.all("script")) == 1


def test_mistakes_are_drawn_the_same_way_each_time():
    run, result = make_run(False, False, False)
    once, again = (sample_cases(result, run.examples, count=5, seed=3) for _ in range(2))
    assert [case.mistakes for case in once] == [case.mistakes for case in again]
    assert sum(len(case.mistakes) for case in once) == 5
    everything = sample_cases(result, run.examples, count=1000)
    assert sum(len(case.mistakes) for case in everything) == sum(
        len(result["mistakes"][side]) for side in ("lost", "spurious")
    )


def test_two_runs_side_by_side():
    run, result = make_run(False, True)
    _, better = make_run(True, True)
    other = json.loads(json.dumps(better))
    result["compared"] = {"other": "b.json", "difference": -0.2, "low": -0.4, "high": 0.0, "better": 0.01}
    page = Page(html := report_page(result, sample_cases(result, run.examples, LABELS.get), other))
    assert "-0.200" in html and "better in 1% of the samples" in html
    assert "other F1" in page.texts("th") and "1.000" in page.texts("td")
    assert {a["data-run"] for _, a, _ in page.all("li") if "data-run" in a} == {"this run alone"}
    assert "The other run has no mistake here." in html
    backwards = Page(report_page(other, sample_cases(other, run.examples), result))
    assert any(text.startswith("Mistakes of the other run alone") for text in backwards.texts("h2"))
    assert any("lost: wrong label" in text for text in backwards.texts("td"))


def test_nothing_to_say():
    predicted = make_doc("zh", ZH[2:])
    predicted._.eat = None
    result = {
        "pipeline": "a",
        "gold": "b",
        **judge(Run([Example(predicted, make_doc("zh", ZH[2:]))], 0.0, {"prompt_tokens": 0})),
    }
    html = report_page(result, sample_cases(result, []))
    assert "There are none." in html and "No entity has a score." in html


def test_charts_say_what_they_show_in_words():
    page = Page(chart([Line([(0, 0), (1, 0.5)], "a <b>", "this", [3, 4])], "T", "x", "y", summary="Half"))
    assert page.all("svg")[0][1]["aria-label"] == "T. Half"
    points = [(float(a["cx"]), float(a["cy"])) for _, a, _ in page.all("circle")]
    assert points[0][0] < points[1][0] and points[0][1] > points[1][1]
    assert Page(bar(0.5, 0.25, 0.75)).all("rect")[1][1]["width"] == "50.0"
    assert not Page(bar(0.5)).all("path")


@pytest.mark.slow
def test_the_page_filters(open_page, no_faults, tmp_path):
    run, result = make_run(False, True)
    path = tmp_path / "report.html"
    path.write_text(report_page(result, sample_cases(result, run.examples, LABELS.get)), encoding="utf-8")
    page = open_page(path.as_uri())
    shown = page.locator(".what li:visible")
    before = shown.count()
    page.locator("select[name=kind]").select_option("lost: wrong_label")
    assert 0 < shown.count() < before
    assert page.locator(".filter output").inner_text() == f"{shown.count()} shown"
    page.locator("select[name=label]").select_option("LOC")
    assert shown.count() == 0 and page.locator(".case:visible").count() == 0
    page.locator("select[name=label]").select_option("")
    no_faults(page)
