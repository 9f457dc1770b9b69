"""An LLM as the judge of open-ended responses, with the vote's interface."""
