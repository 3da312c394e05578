# The optional component instructblip::sentencepiece: a library of its own, because Debian's
# sentencepiece exports protobuf's functions, which breaks programs that use another protobuf.
set(INSTRUCTBLIP_WITH_SENTENCEPIECE AUTO CACHE STRING
    "Build the component sentencepiece: ON, OFF, or AUTO (if the library is found)")
set_property(CACHE INSTRUCTBLIP_WITH_SENTENCEPIECE PROPERTY STRINGS AUTO ON OFF)

if(INSTRUCTBLIP_WITH_SENTENCEPIECE)
  find_package(SentencePiece QUIET)
  if(NOT SentencePiece_FOUND AND NOT INSTRUCTBLIP_WITH_SENTENCEPIECE STREQUAL "AUTO")
    message(FATAL_ERROR "INSTRUCTBLIP_WITH_SENTENCEPIECE is "
                        "${INSTRUCTBLIP_WITH_SENTENCEPIECE}, but sentencepiece was not found. "
                        "Install it (Debian: libsentencepiece-dev), set CMAKE_PREFIX_PATH, or "
                        "configure with -DINSTRUCTBLIP_WITH_SENTENCEPIECE=OFF.")
  endif()
endif()

if(INSTRUCTBLIP_WITH_SENTENCEPIECE AND SentencePiece_FOUND)
  add_library(instructblip_sentencepiece
              "${PROJECT_SOURCE_DIR}/src/tokenization/sentencepiece_tokenizer.cpp")
  add_library(instructblip::sentencepiece ALIAS instructblip_sentencepiece)
  target_link_libraries(instructblip_sentencepiece
    PUBLIC instructblip PRIVATE SentencePiece::SentencePiece)
  set_target_properties(instructblip_sentencepiece PROPERTIES
    EXPORT_NAME sentencepiece
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR})
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)  # as for the library
    target_compile_options(instructblip_sentencepiece PRIVATE -O2)
    target_compile_definitions(instructblip_sentencepiece PRIVATE NDEBUG)
  endif()
  instructblip_warnings(instructblip_sentencepiece)
  instructblip_sanitize(instructblip_sentencepiece)
  set(instructblip_sentencepiece_state "sentencepiece component: yes")
else()
  set(instructblip_sentencepiece_state "sentencepiece component: no (libsentencepiece-dev)")
endif()
message(STATUS "instructblip: ${instructblip_sentencepiece_state}")
