"""Push, twist and drop objects while a model predicts how they move on."""
