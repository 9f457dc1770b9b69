"""Settings of the stages that make and label data: prompts, responses, votes, reward data, evaluation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from retort.config.base import Strict

AnswerType = Literal["number", "expression", "choice", "text", "open"]
"""`open` is for responses without a single right answer: an LLM judges them (section `judge`) instead of a vote."""


class SourceConfig(Strict):
    """One source of prompts."""

    path: str
    """File of rows (JSON lines, a JSON array, CSV, TSV, Parquet, Arrow; packed or not), a folder of such files, or a
    data set that `datasets` saved to disk; with `type: datasets`, a folder or hub id that `datasets` loads."""
    type: Literal["file", "datasets"] = "file"
    """Whether `path` is read here or loaded by the `datasets` library."""
    name: str | None = None
    """Configuration of a data set (`main` of gsm8k, say)."""
    split: str = "train"
    """Split of a data set."""
    prompt_field: str = "prompt"
    """Field that holds the prompt: a text, or a conversation as a list of messages (OpenAI's or ShareGPT's), of which
    the part up to the user's last message is taken."""
    template: str | None = None
    """Jinja template of the prompt over the row's fields, instead of `prompt_field`: "{{question}} {{options}}"."""
    system: str | None = None
    """System prompt before every prompt that has none of its own; teacher and student are both given it."""
    answer_field: str | None = None
    """Field that holds the gold answer, where one is known: used for metrics alone."""
    id_field: str | None = None
    """Field that holds a unique id; without one the id is made from the prompt's text."""
    use: Literal["split", "train", "validation", "test", "unlabelled"] = "split"
    """Put all rows to one use, or divide them among train, validation and test. The teacher never answers `unlabelled`
    ones; RL methods train on them beside the others."""

    @model_validator(mode="after")
    def _a_template_stands_for_the_field(self) -> SourceConfig:
        if self.template is not None and "prompt_field" in self.model_fields_set and self.prompt_field != "prompt":
            raise ValueError("template and prompt_field both say what the prompt is; leave one out")
        if self.template is not None and not self.template.strip():
            raise ValueError("template is empty; leave it out, or say what the prompt is")
        return self


class BenchmarkConfig(Strict):
    """One benchmark: held-out prompts of this run, or a task of lm-evaluation-harness."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name in tables and file names."""
    task: str = "heldout"
    """`heldout`: the test split. Otherwise a task or group of lm-evaluation-harness (gsm8k_cot, mmlu_pro), or
    gsm_plus_cot: GSM-Plus with GSM8K's eight examples."""
    data: dict[str, str] = {}
    """File of each split that the task reads (`test`, and `train` or `validation` where it takes examples from there),
    with the columns of its data set; left out, the data set is fetched from the hub."""
    num_fewshot: int | None = Field(None, ge=0)
    """Solved examples before the question; left out: as many as the task says."""
    chat: bool = True
    """Ask in the model's chat format, examples as earlier turns; else as text to continue, for base models."""
    answer: AnswerType | None = None
    """Kind of answer that Retort reads beside the harness's filters; known for GSM8K, GSM-Plus and MMLU-Pro. Left out
    for other tasks, the harness's first filter and metric count."""
    group_field: str | None = None
    """Field that items from one source share, for intervals; known for GSM-Plus."""
    temperature: float = Field(0.0, ge=0, le=2)
    """Temperature of the answers: 0 is greedy, 1 measures the model's own distribution, as a user's samples do."""
    limit: int | None = Field(None, ge=1)
    """Use only the first items; of a group's tasks, of each."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Tokens after which a response is cut off; left out: what the task says, else `evaluate.max_new_tokens`."""
    prompt: str | None = None
    """Jinja template of the question instead of the task's own, such as "{{question}}" for the bare one."""

    @model_validator(mode="after")
    def _held_out_prompts_are_asked_as_in_training(self) -> BenchmarkConfig:
        if self.task == "heldout":
            given = sorted(self.model_fields_set & {"data", "num_fewshot", "answer", "group_field", "prompt", "chat"})
            given = [name for name in given if getattr(self, name) != type(self).model_fields[name].default]
            if given:
                raise ValueError(f"{', '.join(given)}: only for a task of lm-evaluation-harness, not for `heldout`")
        return self


class PromptsConfig(Strict):
    """Loading, cleaning and splitting prompts."""

    sources: list[SourceConfig] = Field(min_length=1)
    """Where prompts come from."""
    validation: int = Field(200, ge=1)
    """Prompts held out of training, with votes: the reward model's gate and PPO's early stop read them."""
    test: int = Field(0, ge=0)
    """Prompts held out for `heldout` evaluation; never answered by the teacher during training."""
    limit: int | None = Field(None, ge=1)
    """Use only this many training prompts."""
    unlabelled: int | None = Field(None, ge=1)
    """Prompts that the teacher never answers and RL methods train on beside the others: those of sources with that use,
    then training prompts beyond `limit`; left out: all of those sources, and none beyond `limit`."""
    near_duplicate_threshold: float = Field(0.85, gt=0, le=1)
    """Jaccard similarity of word 5-gram sets above which the later of two prompts is dropped; 1 turns it off."""
    decontaminate: list[str] = []
    """Files of benchmark questions (JSONL, gzipped or not) that no training prompt may share n-grams with."""
    ngram: int = Field(13, ge=3)
    """Length in words of the n-grams that count as contamination."""
    max_overlap: float = Field(0.5, ge=0, le=1)
    """Share of n-grams, of the shorter of the two, that a prompt may have in common with one benchmark item."""
    mask_numbers: bool = True
    """Let any number count as any other there: GSM-Plus is GSM8K with other numbers. Turn it off where prompts and a
    benchmark are made from one template on purpose."""
    contaminated: Literal["drop", "report"] = "drop"
    """Drop contaminated training prompts, or keep them and say so (to study a benchmark's own questions)."""

    @property
    def has_unlabelled(self) -> bool:
        """Whether there are prompts that the teacher never answers."""
        return self.unlabelled is not None or any(source.use == "unlabelled" for source in self.sources)

    @model_validator(mode="after")
    def _the_teacher_answers_some(self) -> PromptsConfig:
        uses = {source.use for source in self.sources}
        if not uses & {"split", "train"}:
            raise ValueError(
                f"sources: all are for {' and '.join(sorted(uses))}, so the teacher would answer no training prompt, "
                "and nothing could be learned from it; give one source use: train, or leave its use out"
            )
        if self.unlabelled is not None and "unlabelled" not in uses and self.limit is None:
            raise ValueError(
                "unlabelled: takes training prompts beyond limit, but no limit is set, so the teacher answers all; set "
                "limit to how many it may answer, or give a source use: unlabelled"
            )
        return self


class SamplingConfig(Strict):
    """How responses are sampled."""

    temperatures: list[Annotated[float, Field(ge=0, le=2)]] = [0.7, 1.0]
    """Temperatures; each is used for `samples` responses to every prompt."""
    samples: int = Field(4, ge=1)
    """Responses to each prompt at each temperature."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus sampling: keep the most probable tokens that hold this much probability."""
    max_new_tokens: int = Field(256, ge=1)
    """Tokens after which a response is cut off (finish reason `length`)."""
    batch_size: int = Field(64, ge=1)
    """Sequences generated at once by the `transformers` engine."""
    logprobs: bool = False
    """Keep each response's mean token log-probability, for `votes.weights: logprob`; an endpoint must offer it."""


class ResponsesConfig(SamplingConfig):
    """A sharded stage of responses."""

    shards: list[int] = [0]
    """Shard numbers, 0 to n-1: each is a task of its own, and prompts are divided among them."""
    min_share: float = Field(1.0, gt=0, le=1)
    """Share of a shard's responses that is enough where an endpoint's budget is spent."""

    @model_validator(mode="after")
    def _shards_count_from_zero(self) -> ResponsesConfig:
        if self.shards != list(range(len(self.shards))) or not self.shards:
            raise ValueError(f"shards must be [0, 1, ..., n-1], not {self.shards}")
        return self


class VotesConfig(Strict):
    """Majority vote over a prompt's responses."""

    min_share: float = Field(0.0, ge=0, le=1)
    """Abstain when the winner has less than this share of all responses."""
    min_margin: float = Field(0.0, ge=0, le=1)
    """Abstain when the winner leads the runner-up by less than this share; a tie always abstains."""
    weights: Literal["equal", "source", "logprob"] = "equal"
    """`equal`: each response counts once. `source`: by the model that gave it. `logprob`: by the geometric mean of its
    tokens' probabilities, which must be known (teacher_responses.logprobs)."""
    source_weights: dict[str, float] = {}
    """Weight of each model's responses, for `weights: source`; empty learns them from who agrees with whom."""
    confidence: Literal["agreement", "gold"] = "agreement"
    """What a label's confidence is: `agreement`, the probability that one more response gives the label, learned from
    held-out responses; `gold`, the probability that it is right, learned from other prompts' gold answers."""

    @model_validator(mode="after")
    def _weights_are_not_negative(self) -> VotesConfig:
        if negative := [name for name, weight in self.source_weights.items() if not weight >= 0]:
            raise ValueError(f"source_weights: the weight of {', '.join(negative)} must be 0 or more")
        return self


class RewardDataConfig(Strict):
    """Pointwise labelled examples for the reward model."""

    max_per_prompt: int | None = Field(None, ge=1)
    """Examples kept of each prompt and source; all when left out. Less data makes a worse reward model."""
    balance: bool = False
    """Drop examples of the more frequent label in the training table until both are equally frequent, instead of
    weighing the classes (`reward.class_weight`), which throws nothing away."""


class EvaluateConfig(Strict):
    """Evaluation of models on benchmarks."""

    models: Literal["all"] | list[str] = "all"
    """Models and students to evaluate; `all` leaves out those that can be asked nothing new (recorded responses)."""
    benchmarks: list[BenchmarkConfig] = Field([BenchmarkConfig(name="heldout")], min_length=1)
    """Benchmarks to evaluate them on."""
    max_new_tokens: int = Field(256, ge=1)
    """Tokens after which a response is cut off, where neither the benchmark nor its task says."""
    batch_size: int = Field(64, ge=1)
    """Sequences generated at once."""


class ReportAlarmsConfig(Strict):
    """Shares beyond which the report raises an alarm, and `--require-better` fails."""

    identical: float = Field(0.5, ge=0, le=1)
    """Most prompts whose samples at a temperature above 0 are all the same."""
    coverage: float = Field(0.5, ge=0, le=1)
    """Fewest prompts with a pseudo-label."""
    cut_off: float = Field(0.2, ge=0, le=1)
    """Most responses that were cut off: of the teacher, and of the result on the first benchmark."""
    unread: float = Field(0.2, ge=0, le=1)
    """Most of the same responses from which no answer could be read."""


class ReportConfig(Strict):
    """The report."""

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset({"currency"})

    title: str = "Distillation report"
    """Heading of the page."""
    license: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9.\-]*$")
    """Licence of the student as the hub spells it: `apache-2.0`, `llama3.2`, `other`; left out, that of the base's
    folder."""
    currency: str = "USD"
    """What `prompt_cost` and `response_cost` of engines are in."""
    samples: int = Field(6, ge=0)
    """Prompts shown with the responses of the result, of what it started from, of the teacher and of the base."""
    alarms: ReportAlarmsConfig = ReportAlarmsConfig()
    """When samples, labels and answers are suspicious."""
