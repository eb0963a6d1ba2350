"""What pretraining methods share: plain functions on tensors, with no method's name in them."""
