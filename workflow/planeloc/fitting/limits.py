"""Numbers of the multi-emitter fit that its two implementations share, compiled and in PyTorch."""

# Priors: standard deviations about the start; photons relative to it.
WIDE_NM, WIDE_PHOTONS = 1e4, 100.0
LEAST_DRIFT_SD_NM = 1e-3

# Steps of all molecules of a frame.
FIRST_DAMPING, LEAST_DAMPING, LARGEST_DAMPING, HOLD = 1e-3, 1e-9, 1e6, 1e12
DAMPING_INCREASE, DAMPING_DECREASE = 10.0, 5.0  # factors
DAMPING_OF_REJECTED = 0.3  # at least, of molecules whose windows a rejected step explains worse; others keep theirs
COST_TOLERANCE = 1e-6  # relative, by which a step may raise the cost: rounding
LARGEST_LOSS, LARGEST_GAIN = 0.8, 4.0  # of photons in a step, relative
LARGEST_STEP_PX, LARGEST_STEP_Z_NM = 0.5, 150.0
FARTHEST_PX, FARTHEST_Z_NM = 1.0, 300.0  # from the start
HOLD_DAMPING = 0.01  # a molecule that leaves its start despite more damping is held, even if its frame is less likely
COUPLING_STEPS = 2  # after which the coupling of pairs is kept: it hardly changes any more
LEAST_PHOTONS = 0.05  # of those at the start
SMALL_STEP = 0.05  # squared length, in standard deviations, after which the next step would be much shorter
UNFINISHED = 0.02  # fraction of a frame's molecules whose steps need not have become small

# Covariance.
LEAST_REMAINING = 0.02  # of a molecule's information that its neighbours leave, along every direction

# Conjugate gradients.
SOLVER_ITERATIONS = 20
SOLVER_TOLERANCE = 0.03  # of the solution, in the norm of the information
