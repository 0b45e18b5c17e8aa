"""E2EC on ROS 2: camera images in, instance contours out.

The generated messages (`e2ec_ros.msg`, `e2ec_ros.srv`) belong to the same package. They are built
into another folder than this one when it runs from the source tree, hence the path extension.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
