"""On-policy distillation as a training method: TRL's DistillationTrainer with Retort's sampler and early stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retort.config.methods import DistillationConfig
from retort.plugins import Method, Training
from retort.trainers.shared.reads import on_policy_reads

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from retort.trainers.shared.on_policy import OnPolicyResult
    from retort.trainers.shared.student import Student


def train(training: Training) -> OnPolicyResult:
    """Train the student on the divergence between the teacher's and its own distributions, at its own samples.

    Raises:
        InputError: a prompt is too long for the student, or none that is held out has a label.
        ModelError: the teacher reads other tokens than the student.
        TrainingError: a figure or weight is not a finite number.
    """
    from retort.modeling.loading import model_size
    from retort.trainers.shared import on_policy
    from retort.trainers.shared.student import load_student

    config: DistillationConfig = training.settings
    student = load_student(training)
    teacher = _teacher(training, student)
    read = model_size(teacher)

    def trainer() -> type:
        from trl import DistillationTrainer

        found: type = DistillationTrainer
        return found

    def make(kind: type, arguments: dict[str, Any], rest: dict[str, Any]) -> Any:
        from trl import DistillationConfig as TRLConfig

        from retort.modeling.lora import adapter_settings

        return kind(
            args=TRLConfig(**arguments, beta=config.divergence),
            teacher_model=teacher,
            **rest,
            peft_config=adapter_settings(config.lora, rest["model"]),
        )

    watch = on_policy.train(
        training,
        student,
        on_policy.Method(
            "distillation",
            make,
            trainer,
            group=1,
            minibatch=config.minibatch,
            epochs=1,
            flops_per_token=lambda parameters: 8.0 * parameters + 2.0 * read,
            figures={
                "loss": "divergence",
                "entropy": "entropy",
                "completions/mean_length": "response_tokens",
                "completions/clipped_ratio": "cut_off",
                "learning_rate": "learning_rate",
            },
        ),
    )
    return on_policy.result_of(watch, episodes=config.prompts_per_iteration)


def _teacher(training: Training, student: Student) -> PreTrainedModel:
    """The frozen teacher, its scores over the very tokens that the student has."""
    from retort.errors import ModelError
    from retort.modeling.loading import load_model, load_tokenizer

    name = training.settings.teacher
    folder = training.models[name]
    if load_tokenizer(folder, training=False).get_vocab() != student.tokenizer.get_vocab():
        raise ModelError(
            f"students.{training.student}: {name} reads other tokens than {training.start.name}, so it has no "
            "distribution over the student's. Take a teacher of the same family, or train by sft, dpo or a reward."
        )
    teacher = load_model(folder)
    rows, mine = (model.config.get_text_config().vocab_size for model in (teacher, student.model))
    if rows < mine:
        raise ModelError(
            f"students.{training.student}: {name} has scores for {rows} tokens, {training.start.name} for {mine}. "
            "Resize the student's embeddings to its vocabulary (resize_token_embeddings), and save it."
        )
    if rows > mine:  # padding to a round number: no token has these
        teacher.resize_token_embeddings(mine)
    teacher.requires_grad_(False)
    return teacher


def models(config: DistillationConfig) -> list[str]:
    """The teacher, whose logits are learned."""
    return [config.teacher]


METHOD = Method(
    "distillation",
    DistillationConfig,
    train,
    reads=on_policy_reads,
    models=models,
    extra_compute=True,
    summary="Learn the teacher's distribution at each token of the student's own samples (on-policy distillation).",
    plan="retort.plan.on_policy:plan",
    curves=("divergence", "agreement", "entropy", "response_tokens"),
    figures=("iterations", "first_agreement", "best_agreement"),
)
