"""The models: vision-language models that are finetuned and asked, and the embedded small ones."""
