"""The report as one self-contained HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata, resources

from retort.config.run import TEACHER
from retort.report import words
from retort.report.advice import advice
from retort.report.charts import Interval, interval_chart
from retort.report.compared import Compared, plot
from retort.report.costs import Cost, costs
from retort.report.evidence import labels_section, reward_samples_section, samples_section
from retort.report.findings import Findings
from retort.report.formats import count, duration, flops, interval_words, money, percent, points
from retort.report.html import escape, figure, figures, paragraphs, section, table, tile
from retort.report.lineage import Artifact
from retort.report.made import Made, made_section
from retort.report.prices import Prices
from retort.report.results import comparison_columns, kept_out, pair_columns, result_columns, rows_of
from retort.report.reward import LearnedReward, reward_section
from retort.report.scores import Benchmark
from retort.report.steps import steps
from retort.report.training_section import Look, drawn, training_section

_STUDENT_COLOURS, _MODEL_COLOUR = 4, 5
_LONGEST_NAME = 20
"""Letters of a name that fit beside an interval chart."""


def render_page(
    findings: Findings,
    *,
    samples: int,
    seconds: Mapping[str, float] | None = None,
    prices: Prices | None = None,
    lineage: Sequence[Artifact] = (),
    made: Made | None = None,
    compared: Compared | None = None,
) -> str:
    """The whole page as text.

    Args:
        findings: What the run found.
        samples: Items shown with the responses of the result and of what it started from.
        seconds: Wall time by task on this machine.
        prices: Prices that turn tokens into money.
        lineage: Content hashes of the artifacts.
        made: Settings, commit, hardware and versions.
        compared: The run's models by accuracy and cost.
    """
    prices = prices or Prices()
    parts = [
        section("results", "Results", _results(findings, prices)),
        section("next", "What to do next", _advice(findings)),
        section("method", "What was done, and whether the claim held", _method(findings)),
        section("labels", "Pseudo-labels", labels_section(findings)),
        *(_reward(findings, reward) for reward in findings.rewards.values()),
        section("training", "Training", training_section(findings)),
        section("samples", _samples_title(findings), samples_section(findings, samples)),
        section("cost", "Cost", _cost(costs(findings.stages, seconds, prices), prices), _worth(compared)),
        section("made", "How it was made", made_section(made) if made else ""),
        section("lineage", "Lineage", _lineage(lineage)),
    ]
    shown = [part for part in parts if part]
    style = resources.files("retort.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(findings.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + _header(findings, shown)
        + "\n".join(shown)
        + f"\n<footer>Written by Retort {metadata.version('retort')}. Shares are of items; intervals are 95 %.</footer>"
        + "\n</main>\n</body>\n</html>\n"
    )


def _header(findings: Findings, sections: Sequence[str]) -> str:
    links = "".join(_link(part) for part in sections)
    banner = "".join(f"<p><strong>{escape(notice)}</strong></p>" for notice in words.notices(findings))
    banner += paragraphs(*(reason for student in findings.outline.skipped for reason in student.reasons))
    return (
        f"<header><h1>{escape(findings.title)}</h1>"
        f'<p class="lead">{escape(words.headline(findings))}</p>'
        + (f'<div class="banner">{banner}</div>' if banner else "")
        + f"{_tiles(findings)}<nav>{links}</nav></header>\n"
    )


def _link(part: str) -> str:
    name = part.partition('id="')[2].partition('"')[0]
    title = part.partition("<h2>")[2].partition("</h2>")[0]
    return f'<a href="#{name}">{title}</a>'


def _tiles(findings: Findings) -> str:
    """The result, its first comparisons, and how far labels and rewards can be trusted."""
    lines, models, paired = findings.outline, findings.primary.models, findings.primary.paired
    tiles, result = [], findings.final_model
    if result in models:
        label = f"{lines.label(result)}, {findings.primary.name}, n = {models[result].n:,}"
        tiles.append(tile(percent(models[result].accuracy), label))
    for names in dict.fromkeys([(result, lines.base), (result, words.start(findings)), (result, TEACHER)]):
        if (pair := paired.get(names)) is not None:
            kind = {"above": "good", "below": "bad", "open": "open"}[pair.verdict]
            interval = f"points, {interval_words(pair.low, pair.high)}"
            tiles.append(tile(points(pair.difference), f"{lines.pair_name(names)}: {interval}", kind))
    if findings.labels and findings.labels.accuracy is not None:
        covered = percent(findings.labels.coverage)
        tiles.append(tile(percent(findings.labels.accuracy), f"of pseudo-labels right, {covered} of prompts labelled"))
    for reward in findings.rewards.values():
        if reward.auc is not None:
            tiles.append(tile(f"{reward.auc:.3f}", f"AUC of {reward.words} on held-out prompts"))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _results(findings: Findings, prices: Prices) -> str:
    lines, primary = findings.outline, findings.primary
    colours = _colours(findings)
    rows = [
        Interval(_fitting(lines.label(name)), one.accuracy, one.low, one.high, percent(one.accuracy), colours[name])
        for name, one in primary.models.items()
    ]
    pairs = [
        Interval(
            _fitting(f"{lines.short(first)} − {_bare(lines.short(second))}"),
            pair.difference,
            pair.low,
            pair.high,
            words.difference(pair),
            colours[first],
        )
        for (first, second), pair in primary.paired.items()
        if (first, second) in lines.claims
    ]
    accuracy = interval_chart(
        rows,
        label="Accuracy of each model with 95 % Wilson intervals",
        x_format=lambda value: f"{100 * value:g} %",
        zero=False,
    )
    differences = interval_chart(
        pairs, label="Paired differences of accuracy with 95 % intervals", x_format=_tick_points, zero=True
    )
    parts = [
        _result_table(findings, primary, prices),
        figures(
            figure("Accuracy", accuracy, "Dots are accuracies, bars 95 % Wilson intervals."),
            figure(
                "Paired differences",
                differences,
                "Percentage points on the same items, with 95 % intervals. A bar clear of the zero line is a "
                "difference that the items show.",
            ),
        ),
        _pair_table(findings, primary),
    ]
    if len(findings.benchmarks) > 1:
        compared = table(*rows_of(comparison_columns(findings.benchmarks, lines)))
        parts.append("<h3>Models by benchmark</h3>" + compared)
    for other in findings.benchmarks[1:]:
        tables = _result_table(findings, other, prices) + _pair_table(findings, other)
        parts.append(f"<h3>{escape(other.name)}</h3>{tables}")
    return "".join(parts)


def _colours(findings: Findings) -> dict[str, int]:
    """Colours of the style sheet: one for all models that the run did not make, the others for students in turn."""
    students = list(findings.outline.students)
    return {
        name: students.index(name) % _STUDENT_COLOURS + 1 if name in students else _MODEL_COLOUR
        for name in findings.outline.order
    }


def _fitting(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _bare(name: str) -> str:
    return name.removeprefix("the ")


def _result_table(findings: Findings, benchmark: Benchmark, prices: Prices) -> str:
    head, rows = rows_of(result_columns(benchmark, findings.outline, prices))
    names, result = list(benchmark.models), findings.final_model
    how = f"Answers at temperature {benchmark.temperature:g}" if benchmark.temperature else "Greedy answers"
    strong = names.index(result) if result in names else None
    return table(head, rows, caption=f"{how} on {benchmark.name}", strong=strong)


def _pair_table(findings: Findings, benchmark: Benchmark) -> str:
    return table(*rows_of(pair_columns(benchmark, findings.outline))) if benchmark.paired else ""


def _reward(findings: Findings, reward: LearnedReward) -> str:
    """A section for one learned reward."""
    lines, alone = findings.outline, len(findings.rewards) == 1
    against = [lines.short(name) for name, student in lines.students.items() if student.reward == reward.name]
    looks = {
        "loss": Look("Training loss", "Of the batch, in nats."),
        "auc": Look("AUC while training", "On the prompts that choose the step."),
    }
    kept = reward.metrics.get("step")
    mark = float(kept) if isinstance(kept, int) else None
    curves = drawn(reward.curves, looks, of=reward.words, mark=mark, x_label="optimizer step")
    title = reward.words.removeprefix("the ")
    return section(
        "reward" if alone else f"reward_{reward.name}",
        f"{title[:1].upper()}{title[1:]}",
        reward_section(reward, against, lines.inside, *curves),
        reward_samples_section(findings, reward),
    )


def _samples_title(findings: Findings) -> str:
    result = findings.final_model
    return f"Responses before and after {findings.outline.short(result)}"


def _tick_points(value: float) -> str:
    return f"{100 * value:+g}".replace("-", "−") if value else "0"


def _method(findings: Findings) -> str:
    done = "".join(f"<li>{escape(step)}</li>" for step in steps(findings))
    return (
        f"<ol>{done}</ol>"
        + "<h3>The claim</h3><ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in words.claims(findings))
        + "</ul>"
        + paragraphs(*kept_out(findings))
    )


def _advice(findings: Findings) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in advice(findings))
    return f"<ol>{lines}</ol>" if lines else ""


def _cost(rows: Sequence[Cost], prices: Prices) -> str:
    if not rows:
        return ""
    total, seconds, price = (sum(getattr(row, name) or 0.0 for row in rows) for name in ("flops", "seconds", "price"))
    columns = [
        ("Stage", [row.name for row in rows], "all"),
        ("Tokens", [count(row.tokens) for row in rows], count(sum(row.tokens or 0 for row in rows))),
        ("FLOPs", [flops(row.flops or None) for row in rows], flops(total)),
        ("Share of FLOPs", [percent(row.flops / total if row.flops else None) for row in rows], ""),
    ]
    if price:
        columns.append((f"Price, {prices.currency}", [money(row.price) for row in rows], money(price)))
    if seconds:
        times = ["–" if row.seconds is None else duration(row.seconds) for row in rows]
        columns.append(("Wall time", times, duration(seconds)))
    lines = list(zip(*([*cells, total] for _, cells, total in columns), strict=True))
    return table([head for head, _, _ in columns], lines, strong=len(rows)) + paragraphs(
        "Tokens are those that a model read or wrote; FLOPs are estimated from them and the model’s size. Wall times "
        "are of the last time each stage ran on this machine, summed over its tasks; a stage served from the cache "
        "keeps its old one."
        + (f" Prices are those that params.yaml names now, in {prices.currency}." if price else ""),
        kind="soft",
    )


def _worth(compared: Compared | None) -> str:
    """What the cost bought: accuracy against compute, and which model to take at which budget."""
    if compared is None or not (chart := plot(compared)):
        return ""
    sentences = compared.advice[compared.sides[0].benchmark]
    note = (
        "Compute that made each model and all that it was made from, the teacher’s answers aside; bars are 95 % "
        "intervals. A dearer model is named only where its paired interval to the one before lies above zero."
    )
    return figures(figure("Accuracy against compute", chart, note)) + paragraphs(*sentences)


def _lineage(artifacts: Sequence[Artifact]) -> str:
    if not artifacts:
        return ""
    rows = [
        [
            item.task,
            item.path,
            item.digest.removesuffix(".dir")[:12],
            count(item.files),
            count(item.size),
        ]
        for item in artifacts
    ]
    intro = paragraphs(
        "Each artifact is stored under the hash of its content. dvc.lock holds the full hashes with those of the code, "
        "parameters and inputs that made it; `dvc pull` fetches exactly these."
    )
    return (
        intro
        + f"<details><summary>{len(rows)} artifacts</summary>"
        + table(["Task", "Artifact", "MD5 (first 12)", "Files", "Bytes"], rows, left=3)
        + "</details>"
    )
