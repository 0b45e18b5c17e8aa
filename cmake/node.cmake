# Installs nodes, library, weights, launch files and settings; tests.

foreach(package e2ec_ros e2ec_core street_scenes)
  install(DIRECTORY ${package}/ DESTINATION ${python_dir}/${package} PATTERN "__pycache__" EXCLUDE)
endforeach()

# Where the library looks for the weights that ship.
install(FILES weights/e2ec_lite.safetensors weights/e2ec_lite.onnx
  DESTINATION ${python_dir}/e2ec_core/weights)
# What bags say of the messages, which `e2ec predict --write bag` puts into them.
install(DIRECTORY msg DESTINATION ${python_dir}/e2ec_core)

# Executables for `ros2 run` and launch. The interpreter that built the package runs them, so a
# package built inside a virtual environment finds the torch of that environment.
foreach(executable e2ec_node camera_node distance_node)
  set(module node)
  if(executable STREQUAL "camera_node")
    set(module playback.camera_node)
  elseif(executable STREQUAL "distance_node")
    set(module distance_node)
  endif()
  configure_file(tools/ros_executable.in executables/${executable} @ONLY)
  install(PROGRAMS ${CMAKE_CURRENT_BINARY_DIR}/executables/${executable}
    DESTINATION lib/${PROJECT_NAME})
endforeach()

install(DIRECTORY launch config DESTINATION share/${PROJECT_NAME}
  PATTERN "__pycache__" EXCLUDE)

if(BUILD_TESTING)
  # Not ament_add_pytest_test: pyproject.toml turns the plugins off that it counts on.
  find_package(ament_cmake_test REQUIRED)
  set(results ${AMENT_TEST_RESULTS_DIR}/${PROJECT_NAME}/pytest.xunit.xml)
  ament_add_test(pytest
    COMMAND ${Python3_EXECUTABLE} -m pytest -m "not slow" --junit-xml=${results}
      -o cache_dir=${CMAKE_CURRENT_BINARY_DIR}/pytest_cache
    RESULT_FILE ${results}
    TIMEOUT 3600
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
endif()
