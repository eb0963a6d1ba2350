"""Pretrain: one method on one network and one mixture."""
