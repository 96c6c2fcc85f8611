"""leukoscope: blood-cell classification with CoAtNet, and numbers that are true.

Research use only; not a medical device. Importing this package imports nothing heavy:
the use cases live in `leukoscope.pipelines`, the network in `leukoscope.models`.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
