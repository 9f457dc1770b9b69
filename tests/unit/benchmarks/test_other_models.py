"""Outputs in the styles of models that no file here holds; what each states was written down before it was read.

None: the output states no answer, and reading one would be a guess.
"""

import pytest

from retort.text.extract import read_answer

OPTIONS = ["Paris", "Lyon", "Marseille", "Nice", "12 m/s", "$1,200", "None of the above"]

LETTERS = {
    "gpt-4o, bold letter": ("First, we find the slope.\n\nTherefore, the answer is **C**.", "C"),
    "gpt-4o, bold letter and text": ("So the correct answer is:\n\n**(B) Lyon**", "B"),
    "gpt-4o, heading": ("### Conclusion\n\nThe correct choice is **D. Nice**.", "D"),
    "gpt-4o, boxed": (r"Hence \[ \boxed{B} \]", "B"),
    "claude, thus": ("Looking at each option:\n(A) too small\n(B) fits\n\nThus the best option is (B).", "B"),
    "claude, header on a line": ("Reasoning here.\n\n**Answer:**\n\nC", "C"),
    "claude, refusal": ("I can't determine this without the figure, so I won't pick an option.", None),
    "deepseek-r1": ("<think>\nThe answer is A? No, wait. B.\n</think>\n\n**Answer:** $\\boxed{\\text{B}}$", "B"),
    "deepseek-r1, template opened the thoughts": ("Maybe the answer is (A).\n</think>\nThe answer is (C).", "C"),
    "deepseek-r1, cut off in its thoughts": ("<think>\nThe answer is (A), I think", None),
    "gemma": ("**Final Answer:** The final answer is $\\boxed{D}$", "D"),
    "gemma, text after the letter": ("**Final Answer**: C. Marseille", "C"),
    "qwen2.5, boxed with text": (r"The answer is \(\boxed{C. \text{Marseille}}\).", "C"),
    "qwen2.5, boxed option": (r"Therefore \boxed{\text{(E) }12}", "E"),
    "llama base, runs on": (
        " We get 3. The answer is (B).\n\nQuestion:\nWhat?\nOptions:\nA. 1\nAnswer: Let's think step by step. "
        "The answer is (D).", "B"),
    "llama 3.1": ("## Step 1: Find it\nIt is so.\n\nThe final answer is: $\\boxed{B}$", "B"),
    "llama 3, best answer": ("The best answer is D.", "D"),
    "mistral": ("Answer: (C)\n\nExplanation: because it is south.", "C"),
    "mistral, capital label": (" ANSWER: B", "B"),
    "phi, letter and closing bracket": ("B) Lyon", "B"),
    "letter, then explanation": ("C\n\nMarseille lies in the south, unlike the others.", "C"),
    "json": ('{"reasoning": "it is so", "answer": "D"}', "D"),
    "xml": ("<reasoning>so</reasoning><answer>B</answer>", "B"),
    "table": ("| Step | Result |\n|---|---|\n| Answer | B |\n", "B"),
    "option named": ("Comparing them, I would choose option C.", "C"),
    "option corresponds": ("This gives 12 m/s, which corresponds to option E.", "E"),
    "best option": ("The best option is A because it is the capital.", "A"),
    "is correct": ("(D) is the correct answer, since it lies by the sea.", "D"),
    "lower case": ("the correct answer is (b).", "B"),
    "text only": ("The answer is Lyon.", "B"),
    "text only, value": ("**Answer:** 12 m/s", "E"),
    "text only, number": ("Therefore, the answer is $1200.", "F"),
    "none of the above is an option": ("The answer is None of the above.", "G"),
    "none of the options": ("The answer is (None of the options).", None),
    "conflict, decided": ("The answer is (A). Wait, that ignores the sea. Actually, the answer is (D).", "D"),
    "reconsiders twice": ("Answer: A\n\nHmm, let me check again.\n\nAnswer: B\n\nFinal Answer: B", "B"),
    "two, then one": ("It is either (A) or (C), but the sea decides: the answer is (C).", "C"),
    "closest": ("The result, 1,190, is not listed; the closest option is (F).", "F"),
    "withdrawn": ("The closest option is F. 1,200, but that is not correct. The question is flawed.", None),
    "denied": ("The answer is not (A).", None),
    "hypothetical": ("If the answer is (A), the speed would be negative, and that is absurd", None),
    "word, no letter": ("The answer is A matter of taste.", None),
    "symbol, no letter": ("The answer is $A = 5$ square metres", None),
    "cut off before the letter": ("So the closest one must be option (", None),
    "goes through the options": ("(A) is in the north.\n(B) is inland.\n(C) is in the sou", None),
    "empty": ("", None),
}  # fmt: skip


@pytest.mark.parametrize("style", LETTERS)
def test_letter_that_another_model_states(style):
    text, letter = LETTERS[style]
    answer = read_answer(text, "choice", OPTIONS)
    assert (answer.value if answer else None) == letter, answer


NUMBERS = {
    "gpt-4o": ("**Total cost:** $5 \\times 3 = 15$\n\nTherefore, Ann pays **$15** in total.", "15"),
    "gpt-4o, latex": (r"So the total is \( 15 \times 4 = 60 \) apples. \n\n\[\boxed{60}\]", "60"),
    "claude": ("She has 7 × 4 = 28 eggs.\n\n**Answer: 28 eggs**", "28"),
    "claude, sentence": ("Step 1: 20 - 4 = 16\nStep 2: 16 / 2 = 8\n\nEach child gets 8 sweets.", "8"),
    "deepseek-r1": ("<think>Maybe 12? 3*5=15.</think>\n\nThe total is **15**.\n\n\\boxed{15}", "15"),
    "deepseek-r1, cut off": ("<think>Maybe 12? 3*5=15. So", None),
    "gemma": ("**Final Answer:** The final answer is $\\boxed{1{,}250}$", "1250"),
    "qwen2.5": (r"Therefore, the cost is \(\boxed{\$12.50}\).", "12.50"),
    "llama base, runs on": (" 5 + 4 = 9. #### 9\n\nQuestion: Tom has 3 pens.\nAnswer: #### 3", "9"),
    "llama 3.1": ("Total: 45\n\nThe final answer is: $\\boxed{45}$", "45"),
    "llama cot": ("There are 21 - 15 = 6 trees. The answer is 6.", "6"),
    "metamath": ("#### 18\nThe answer is: 18", "18"),
    "abel": ("6. [Final solution] Thus, Janet makes $18 every day at the market. #### 18", "18"),
    "in the middle of a sentence": ("Therefore, Janet makes #### 18 dollars every day.", "18"),
    "tora": ("```output\n3.0\n```\nA robe takes $\\boxed{3.0}$ bolts in total.", "3.0"),
    "percent": ("So 12 of 48 is a quarter.\n\nThe answer is 25%.", "25%"),
    "fraction": ("The answer is \\frac{3}{4} of a cup.", "3/4"),
    "mixed number": ("The answer is 2 1/2 hours.", "5/2"),
    "negative": ("The change is: 5 - 8 = -3\n\nAnswer: -3", "-3"),
    "currency": ("Final answer: €1,299.99", "1299.99"),
    "spaces between thousands": ("The answer is 1\u202f234\u202f567.", "1234567"),
    "words of scale": ("The answer is 1.5 million dollars.", "1500000"),
    "reconsidered": ("The answer is 12. Wait, I forgot the tip. The answer is 15.", "15"),
    "units and a note behind": ("**Answer:** 40 minutes\n\n(assuming 2 breaks of 5 minutes)", "40"),
    "json": ('{"answer": 42}', "42"),
    "refusal": ("I'm sorry, but I can't help with that.", None),
    "clock": ("They meet at 3:30.", None),
}


@pytest.mark.parametrize("style", NUMBERS)
def test_number_that_another_model_states(style):
    text, number = NUMBERS[style]
    answer = read_answer(text, "number")
    assert (answer.value if answer else None) == number, answer
