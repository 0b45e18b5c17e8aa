# The node on a CPU: docker build -t e2ec_ros . && docker run --rm --net=host --ipc=host e2ec_ros
# --ipc=host: images come through shared memory. Another distribution: --build-arg ROS=lyrical
ARG ROS=jazzy

FROM ros:${ROS}-ros-base AS build
WORKDIR /ws
COPY . src/e2ec_ros
RUN . /opt/ros/${ROS_DISTRO}/setup.sh \
 && apt-get update \
 && rosdep install --from-paths src --ignore-src --dependency-types=buildtool -y \
 && colcon build --packages-select e2ec_ros --cmake-args -DBUILD_TESTING=OFF

FROM ros:${ROS}-ros-core AS node
WORKDIR /ws
COPY --from=build /ws/install install
COPY package.xml /tmp/e2ec_ros/
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-pip python3-rosdep \
 && rosdep init && rosdep update --rosdistro ${ROS_DISTRO} \
 && rosdep install --from-paths /tmp/e2ec_ros --dependency-types=exec -y \
 && python3 -m pip install --break-system-packages --no-cache-dir onnxruntime rosbags \
      "numpy<$(python3 -c 'import numpy; print(int(numpy.__version__[0]) + 1)')" \
 && rm -rf /var/lib/apt/lists/* /tmp/e2ec_ros
RUN sed -i '$i source /ws/install/setup.bash' /ros_entrypoint.sh
CMD ["ros2", "launch", "e2ec_ros", "e2ec.launch.py"]
