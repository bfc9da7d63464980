"""Training, from the arguments of `Network.fit` to the backends.

==========  ==================================================================================
fitting     arguments are checked, samples are read
loop        what happens around a driver, from epoch to epoch
steps       the driver of mini-batch steps
lbfgs       the driver of L-BFGS, an iteration an epoch
loader      hands the samples to a backend, as they lie or piece by piece
checkpoint  what it takes to go on: kept in memory, saved with the model, taken up again
progress    the bar
diagnosis   what ``diagnose=True`` measures of the layers
advice      warnings that teach
==========  ==================================================================================
"""
