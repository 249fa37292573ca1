import Platform
import Pretraining
import Tensors
import TestSupport
import Testing
import WeightFiles

private func device() throws -> CPUDevice { try CPUDevice(pool: ThreadPool(threads: 2), budget: MemoryBudget()) }

/// A stage starts only from a teacher of its own networks.
@Suite struct StageSourceTests {
  /// A checkpoint and an export of one iteration.
  private func teachers(_ folder: String, _ more: String = "{}") throws -> [String] {
    let run = try Pretrainer(small(more), source: noiseSource(), folder: folder, device: device())
    try run.run(until: 1)
    return ["\(folder)/pretraining_0000000001.safetensors", try run.exportTeacher() + "/teacher_checkpoint.safetensors"]
  }

  @Test(arguments: [
    (#"{"student": {"depth": 1}}"#, "depth"), (#"{"student": {"n_storage_tokens": 0}}"#, "storage_tokens"),
    (#"{"student": {"layerscale": null}}"#, "layerscale"), (#"{"student": {"norm_layer": "rmsnorm"}}"#, "norm"),
    (#"{"student": {"proj_bias": false}}"#, "proj"), (#"{"student": {"pos_embed_rope_base": 50}}"#, "pos_embed_rope_base"),
    (#"{"student": {"norm_layer": "layernormbf16"}}"#, "norm_eps"), (#"{"ibot": {"head_nlayers": 1}}"#, "ibot_head"),
    (#"{"student": {"pos_embed_rope_normalize_coords": "max"}}"#, "pos_embed_rope_normalize_coords"),
  ]) func aTeacherOfOtherNetworksIsRefused(change: String, word: String) throws {
    try withTemporaryFolder { folder in
      for path in try teachers(folder + "/one") {
        let settings = try small(String(change.dropLast()) + #", "train": {"previous_checkpoint": "\#(path)"}}"#)
        let error = #expect(throws: MedDINOError.self) {
          try Pretrainer(settings, source: noiseSource(), folder: folder + "/two", device: device())
        }
        #expect(error?.kind == .format && error?.message.contains(word) == true, "\(error?.message ?? "accepted") \(path)")
        #expect(error?.message.contains(path) == true)
      }
    }
  }

  /// A file that says nothing of its architecture.
  @Test(arguments: [
    (#"{"student": {"depth": 1}}"#, "backbone.blocks.1."), (#"{"student": {"n_storage_tokens": 0}}"#, "storage_tokens"),
    (#"{"student": {"layerscale": null}}"#, "ls1.gamma"), (#"{"dino": {"head_nlayers": 2}}"#, "dino_head.mlp"),
  ]) func tensorsThatAreLeftOverAreNamed(change: String, word: String) throws {
    try withTemporaryFolder { folder in
      let file = try SafeTensorsFile(InputFile(try teachers(folder + "/one")[1]))
      let path = folder + "/bare.safetensors"
      try SafeTensorsWriter.write(file.names.map { ($0, try file.tensor($0, in: MemoryBudget())) }, metadata: [], to: path)
      func start(_ more: String) throws {
        let settings = try small(String(more.dropLast()) + #", "train": {"previous_checkpoint": "\#(path)"}}"#)
        _ = try Pretrainer(settings, source: noiseSource(), folder: nil, device: device())
      }
      try start(#"{"student": {"depth": 2}}"#)
      let error = #expect(throws: MedDINOError.self) { try start(change) }
      #expect(error?.kind == .format && error?.message.contains(word) == true, "\(error?.message ?? "accepted")")
    }
  }

  /// What a stage may change: stochastic depth, coordinate augmentation, the start of LayerScale.
  @Test func trainingOptionsMayChange() throws {
    try withTemporaryFolder { folder in
      for path in try teachers(folder + "/one") {
        let settings = try small(
          #"{"student": {"drop_path_rate": 0, "pos_embed_rope_rescale_coords": null, "layerscale": 0.1}, "train": {"previous_checkpoint": "\#(path)"}}"#
        )
        let run = try Pretrainer(settings, source: noiseSource(), folder: nil, device: device())
        #expect(run.iteration == 0)
      }
    }
  }

  /// An anchor is a backbone: its file's heads may be others.
  @Test func anchorsMayHaveOtherHeads() throws {
    try withTemporaryFolder { folder in
      let path = try teachers(folder + "/one", #"{"dino": {"head_nlayers": 2}}"#)[1]
      func settings(_ more: String) throws -> PretrainingSettings {
        try small(#"{"gram": {"use_loss": true, "ckpt": "\#(path)"}\#(more)}"#)
      }
      _ = try Pretrainer(settings(""), source: noiseSource(), folder: nil, device: device())
      let error = #expect(throws: MedDINOError.self) {
        try Pretrainer(settings(#", "student": {"depth": 1}"#), source: noiseSource(), folder: nil, device: device())
      }
      #expect(error?.message.contains("depth") == true || error?.message.contains("blocks.1") == true)
    }
  }

  @Test func twoPlacesToStartFromAreRefused() throws {
    try withTemporaryFolder { folder in
      let path = try teachers(folder + "/one")[1]
      let settings = try small(
        #"{"student": {"pretrained_weights": "\#(folder)/none.pth"}, "train": {"previous_checkpoint": "\#(path)"}}"#)
      let error = #expect(throws: MedDINOError.self) { try Pretrainer(settings, source: noiseSource(), folder: nil, device: device()) }
      #expect(error?.kind == .invalid && error?.message.contains("student.pretrained_weights") == true)
      #expect(error?.message.contains("train.previous_checkpoint") == true)
    }
  }
}
