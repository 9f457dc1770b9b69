"""The report as one self-contained HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata, resources

from retort.report import words
from retort.report.charts import Interval, interval_chart
from retort.report.costs import Cost, costs
from retort.report.evidence import curves_section, labels_section, samples_section
from retort.report.findings import Findings
from retort.report.html import escape, figure, figures, paragraphs, section, table, tile
from retort.report.lineage import Artifact
from retort.report.results import comparison_columns, kept_out, pair_columns, result_columns, rows_of
from retort.report.reward_section import reward_section
from retort.report.scores import ORDER, Benchmark
from retort.report.words import NAMES, percent

_COLOURS = {"teacher": 5, "base": 5, "sft": 1, "ppo": 2, "sft_equal_compute": 3}
_PAIRS_SHOWN = ("ppo_minus_sft", "ppo_minus_teacher", "ppo_minus_sft_equal_compute")


def render_page(
    findings: Findings, *, samples: int, seconds: Mapping[str, float] | None = None, lineage: Sequence[Artifact] = ()
) -> str:
    """The whole page as text.

    Args:
        samples: Items shown with both students' responses.
        seconds: Wall time by stage on this machine.
        lineage: Content hashes of the artifacts.
    """
    parts = [
        section("results", "Results", _results(findings)),
        section("method", "What was done, and whether the claim held", _method(findings)),
        section("labels", "Pseudo-labels", labels_section(findings)),
        section("reward", "Reward model", reward_section(findings)),
        section("training", "Training", curves_section(findings)),
        section("samples", "Responses before and after PPO", samples_section(findings, samples)),
        section("cost", "Cost", _cost(costs(findings.stages, seconds))),
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
    banner = ""
    if findings.gate_passed is False:
        reasons = "".join(f"<p>{escape(reason)}</p>" for reason in words.gate_reasons(findings))
        banner = (
            '<div class="banner"><p><strong>The reward model did not pass its gate. PPO was skipped, and the SFT '
            f"student is this run’s result.</strong></p>{reasons}</div>"
        )
    return (
        f"<header><h1>{escape(findings.title)}</h1>"
        f'<p class="lead">{escape(words.headline(findings))}</p>{banner}{_tiles(findings)}<nav>{links}</nav></header>\n'
    )


def _link(part: str) -> str:
    name = part.partition('id="')[2].partition('"')[0]
    title = part.partition("<h2>")[2].partition("</h2>")[0]
    return f'<a href="#{name}">{title}</a>'


def _tiles(findings: Findings) -> str:
    models, paired = findings.primary.models, findings.primary.paired
    tiles = []
    final = findings.final_model
    if final in models:
        tiles.append(
            tile(percent(models[final].accuracy), f"{NAMES[final]}, {findings.primary.name}, n = {models[final].n:,}")
        )
    for key in ("ppo_minus_sft", "ppo_minus_teacher"):
        if key in paired and findings.gate_passed is not False:
            pair = paired[key]
            kind = {"above": "good", "below": "bad", "open": "open"}[pair.verdict]
            interval = f"points, {words.points(pair.low)} to {words.points(pair.high)}"
            tiles.append(tile(words.points(pair.difference), f"{words.pair_name(key)}: {interval}", kind))
    if findings.labels and findings.labels.accuracy is not None:
        tiles.append(
            tile(
                percent(findings.labels.accuracy),
                f"of pseudo-labels right, {percent(findings.labels.coverage)} of prompts labelled",
            )
        )
    auc = findings.stages.get("reward", {}).get("auc")
    if isinstance(auc, float):
        tiles.append(tile(f"{auc:.3f}", "AUC of the reward model on held-out prompts"))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _results(findings: Findings) -> str:
    primary = findings.shown[0]
    parts = [_result_table(primary, findings.final_model)]
    rows = [
        Interval(
            NAMES[name],
            primary.models[name].accuracy,
            primary.models[name].low,
            primary.models[name].high,
            percent(primary.models[name].accuracy),
            _COLOURS[name],
        )
        for name in ORDER
        if name in primary.models and (name != "base" or len(primary.models) == 1)
    ]
    pairs = [
        Interval(
            _short(key),
            primary.paired[key].difference,
            primary.paired[key].low,
            primary.paired[key].high,
            words.difference(primary.paired[key]),
            2,
        )
        for key in _PAIRS_SHOWN
        if key in primary.paired
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
    left_out = " The base student is left out of the picture." if len(rows) < len(primary.models) else ""
    parts.append(
        figures(
            figure("Accuracy", accuracy, f"Dots are accuracies, bars 95 % Wilson intervals.{left_out}"),
            figure(
                "Paired differences",
                differences,
                "Percentage points on the same items, with 95 % intervals. A bar clear of the zero line is a "
                "difference that the items show.",
            ),
        )
    )
    parts.append(_pair_table(primary))
    if len(findings.shown) > 1:
        parts.append("<h3>Models by benchmark</h3>" + table(*rows_of(comparison_columns(findings.shown))))
    for other in findings.shown[1:]:
        parts.append(f"<h3>{escape(other.name)}</h3>" + _result_table(other, findings.final_model) + _pair_table(other))
    return "".join(parts)


def _result_table(benchmark: Benchmark, final: str) -> str:
    head, rows = rows_of(result_columns(benchmark))
    names = [name for name in ORDER if name in benchmark.models]
    how = f"Answers at temperature {benchmark.temperature:g}" if benchmark.temperature else "Greedy answers"
    strong = names.index(final) if final in names else None
    return table(head, rows, caption=f"{how} on {benchmark.name}", strong=strong)


def _pair_table(benchmark: Benchmark) -> str:
    return table(*rows_of(pair_columns(benchmark))) if benchmark.paired else ""


def _tick_points(value: float) -> str:
    return f"{100 * value:+g}".replace("-", "−") if value else "0"


def _short(key: str) -> str:
    return {
        "ppo_minus_sft": "PPO − SFT",
        "ppo_minus_teacher": "PPO − teacher",
        "ppo_minus_sft_equal_compute": "PPO − more SFT",
    }[key]


def _method(findings: Findings) -> str:
    steps = "".join(f"<li>{escape(step)}</li>" for step in words.method(findings))
    return (
        f"<ol>{steps}</ol>"
        + "<h3>The claim</h3><ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in words.claim(findings))
        + "</ul>"
        + paragraphs(*kept_out(findings))
    )


def _cost(rows: Sequence[Cost]) -> str:
    if not rows:
        return ""
    flops, seconds, price = (sum(getattr(row, name) or 0.0 for row in rows) for name in ("flops", "seconds", "price"))
    columns = [
        ("Stage", [row.stage for row in rows], "all"),
        ("Tokens", [_number(row.tokens) for row in rows], _number(sum(row.tokens or 0 for row in rows))),
        ("FLOPs", [words.flops(row.flops or None) for row in rows], words.flops(flops)),
        ("Share of FLOPs", [percent(row.flops / flops if row.flops else None) for row in rows], ""),
    ]
    if price:
        columns.append(("Price", ["–" if row.price is None else f"{row.price:.2f}" for row in rows], f"{price:.2f}"))
    if seconds:
        times = ["–" if row.seconds is None else duration(row.seconds) for row in rows]
        columns.append(("Wall time", times, duration(seconds)))
    lines = list(zip(*([*cells, total] for _, cells, total in columns), strict=True))
    return table([head for head, _, _ in columns], lines, strong=len(rows)) + paragraphs(
        "Tokens are those that a model read or wrote; FLOPs are estimated from them and the model’s size. Wall times "
        "are of the last time each stage ran on this machine, summed over its tasks; a stage served from the cache "
        "keeps its old one.",
        kind="soft",
    )


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _lineage(artifacts: Sequence[Artifact]) -> str:
    if not artifacts:
        return ""
    rows = [
        [
            item.task,
            item.path,
            item.digest.removesuffix(".dir")[:12],
            _number(item.files),
            _number(item.size),
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


def duration(seconds: float) -> str:
    """Seconds in words: `41 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
