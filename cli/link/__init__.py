"""Networks: what a step costs on one, calculated and measured."""
