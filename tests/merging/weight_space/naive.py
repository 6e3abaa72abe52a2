"""The methods written out for single numbers, in plain Python on numpy arrays: slow, and independent of the library."""

import math

import numpy as np


def linear(arrays, weights):
    result = np.zeros(arrays[0].shape)
    for index in np.ndindex(result.shape):
        result[index] = sum(w * array[index] for w, array in zip(weights, arrays, strict=True)) / sum(weights)
    return result


def slerp(first, second, t):
    """Textbook slerp of directions; norms in a straight line."""
    sizes = math.sqrt((first**2).sum()), math.sqrt((second**2).sum())
    units = first / sizes[0], second / sizes[1]
    angle = math.acos(float((units[0] * units[1]).sum()))
    direction = (math.sin((1 - t) * angle) * units[0] + math.sin(t * angle) * units[1]) / math.sin(angle)
    return ((1 - t) * sizes[0] + t * sizes[1]) * direction


def task_arithmetic(arrays, weights, base):
    result = base.copy()
    for w, array in zip(weights, arrays, strict=True):
        result = result + w * (array - base)
    return result


def trim(difference, density):
    kept = max(1, round(density * difference.size))
    order = sorted(np.ndindex(difference.shape), key=lambda index: -abs(difference[index]))
    result = np.zeros_like(difference)
    for index in order[:kept]:
        result[index] = difference[index]
    return result


def agreed_mean(changes, weights):
    result = np.zeros(changes[0].shape)
    for index in np.ndindex(result.shape):
        values = [change[index] for change in changes]
        positive = sum(w * v for w, v in zip(weights, values, strict=True) if v > 0)
        negative = sum(w * -v for w, v in zip(weights, values, strict=True) if v < 0)
        sign = 1 if positive > negative else -1
        voters = [(w, v) for w, v in zip(weights, values, strict=True) if v * sign > 0]
        if positive != negative and voters:
            result[index] = sum(w * v for w, v in voters) / sum(w for w, _ in voters)
    return result


def ties(arrays, weights, base, *, density, scale):
    return base + scale * agreed_mean([trim(array - base, density) for array in arrays], weights)


def dare(arrays, base, masks, density):
    """The thinned changes, for masks that say what is kept."""
    return [(array - base) * mask / density for array, mask in zip(arrays, masks, strict=True)]
