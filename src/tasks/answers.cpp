#include "instructblip/tasks/answers.h"

#include "instructblip/tasks/answers-inl.h"
