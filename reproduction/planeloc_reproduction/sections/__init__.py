"""The sections of the report: each draws its figures and writes its tables and the sentence that explains them."""
