# The target docs: the documentation of the public headers in <build folder>/docs/html, by Doxygen.
# Any warning of Doxygen is an error.
find_package(Doxygen 1.9 QUIET)
if(NOT DOXYGEN_FOUND)
  add_custom_target(docs
    COMMAND ${CMAKE_COMMAND} -E echo "Doxygen 1.9 or newer was not found. Install it and run cmake again."
    COMMAND ${CMAKE_COMMAND} -E false)
  return()
endif()

set(DOXYGEN_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/docs")
set(DOXYGEN_STRIP_FROM_PATH "${PROJECT_SOURCE_DIR}")
set(DOXYGEN_STRIP_FROM_INC_PATH "${PROJECT_SOURCE_DIR}/include")
set(DOXYGEN_USE_MDFILE_AS_MAINPAGE "${PROJECT_SOURCE_DIR}/README.md")
set(DOXYGEN_IMAGE_PATH "${PROJECT_SOURCE_DIR}")
set(DOXYGEN_EXTRACT_ALL YES)  # names without a comment explain themselves
set(DOXYGEN_HIDE_UNDOC_RELATIONS NO)
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_BUILTIN_STL_SUPPORT YES)
set(DOXYGEN_MACRO_EXPANSION YES)
set(DOXYGEN_EXPAND_ONLY_PREDEF YES)
set(DOXYGEN_PREDEFINED "INSTRUCTBLIP_EXPORT=")
set(DOXYGEN_SORT_MEMBER_DOCS NO)
set(DOXYGEN_QUIET YES)
set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)
# Links to sections and to other files of the repository become plain text. A link may span two
# lines, hence -z.
set(DOXYGEN_FILTER_PATTERNS
    "*.md=sed -zE 's/(^|[^!])\\[([^][]*)\\]\\((#|[a-z_]+\\/)[^)]*\\)/\\1\\2/g'")
doxygen_add_docs(docs "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/README.md")
