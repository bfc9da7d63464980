"""scikit-learn's multi-layer perceptrons over pycnn; needs the ``sklearn`` extra.

``from pycnn.sklearn import MLPClassifier`` takes the place of ``from sklearn.neural_network import
MLPClassifier``: parameters, attributes and numbers are scikit-learn's. Beyond these there are
weights of classes, dropout, batch normalization, an activation for each layer, callbacks, every
optimizer, and validation data of one's own.
"""

from pycnn._public import names_of
from pycnn.sklearn._estimators import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
__dir__ = names_of(__name__)
