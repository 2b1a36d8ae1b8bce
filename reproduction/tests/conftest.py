"""What holds for all tests of the reproduction."""

import torch

# As in the commands of the workflow: threads that wait for each other cost more than they bring to small arrays.
torch.set_num_threads(1)
