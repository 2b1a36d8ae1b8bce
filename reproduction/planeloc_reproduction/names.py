"""Names of what is compared, alike in files, options and figures."""

NETWORKS = ("robust", "nonrobust")
ESTIMATORS = (
    *NETWORKS,
    "compressed_sensing",  # Eq. 3, the number of molecules known
    "alternating",  # Eq. 9: compressed sensing and drift in turn
    "matching_pursuit",  # greedy, the number of molecules known
    "fit_without_drift",  # maximum likelihood that takes the planes for still
    "fit_with_drift",  # maximum a posteriori, the drift unknown with its prior
)
SWEEPS = ("drift", "density", "photons")
DATA_SETS = ("paper", "voxel_centres", "additive_noise", "camera")
