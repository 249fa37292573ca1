// meddino for C++11: owners for the handles of meddino.h, failures as exceptions. Header only, no state of its own.
//
//   meddino::Context context;
//   meddino::Model model = meddino::Model::open(context, "organs.safetensors");
//   meddino::Image ct = model.read_image("ct.nii.gz");
//   model.segment(ct).labels.write("labels.nii.gz");
//
// Every class is move-only and releases its handle once. Children keep what they need of their parents, so destruction may come in
// any order. What meddino.h says about threads and buffers holds here too. A moved-from object may only be destroyed or assigned to.
#ifndef MEDDINO_HPP
#define MEDDINO_HPP
#include "meddino/core.hpp"
#include "meddino/evaluation.hpp"
#include "meddino/image.hpp"
#include "meddino/model.hpp"
#include "meddino/run.hpp"
#include "meddino/training.hpp"
#include "meddino/volume.hpp"
#endif
