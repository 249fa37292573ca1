import Networks
import Platform
import Pretraining
import Tensors
import TestSupport
import Testing
import WeightFiles

/// Several ranks, each with its part of a batch, against one process with the whole batch.
@Suite struct RankTests {
  private static func settings(batch: Int, ranks: Int, _ more: String = "{}") throws -> PretrainingSettings {
    let base = """
      {
        "student": {"embed_dim": 16, "depth": 2, "num_heads": 2, "drop_path_rate": 0, "layerscale": 0.5,
          "pos_embed_rope_rescale_coords": 2},
        "dino": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12, "koleo_loss_distributed": true},
        "ibot": {"head_n_prototypes": 20, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
        "crops": {"global_crops_size": 32, "local_crops_size": 16, "local_crops_number": 2},
        "train": {"batch_size_per_gpu": \(batch), "OFFICIAL_EPOCH_LENGTH": 3, "num_workers": 1},
        "optim": {"epochs": 1, "scaling_rule": "sqrt_wrt_1024"},
        "schedules": {"lr": {"peak": 1e-3, "warmup_epochs": 0, "start": 1e-3, "freeze_last_layer_epochs": 0},
          "teacher_temp": {"warmup_epochs": 0}},
        "checkpointing": {"period": 2}, "evaluation": {"eval_period_iterations": 0}
      }
      """
    func merge(_ a: JSON, _ b: JSON) -> JSON {
      guard var object = a.objectValue, let other = b.objectValue else { return b }
      for entry in other.entries { object[entry.key] = merge(object[entry.key] ?? .null, entry.value) }
      return .object(object)
    }
    return try PretrainingSettings(
      preset: "tiny", merge(JSON.parse(base, source: "test"), JSON.parse(more, source: "test")), ranks: ranks)
  }
  private static func device() throws -> CPUDevice { try CPUDevice(pool: ThreadPool(threads: 1), budget: MemoryBudget()) }

  /// What one iteration leaves: losses, gradients, weights, averages.
  private struct Result {
    var losses: [Double]
    var norms: [Double]
    var values: [String: [Float]]
  }

  private static func steps(
    _ count: Int, _ settings: PretrainingSettings, _ folder: String, _ ranks: any Communicator = SoloCommunicator()
  ) throws -> [Result] {
    let run = try Pretrainer(settings, source: noiseSource(count: 9), folder: folder, device: device(), ranks: ranks)
    return try (0..<count).map { _ in
      let report = try run.step().report
      let model = run.trainer.model
      var values: [String: [Float]] = [:]
      for parameter in model.studentParameters {
        values["gradient." + parameter.name] = parameter.gradient?.floatArray()
        values["student." + parameter.name] = parameter.value.floatArray()
      }
      for entry in model.teacherState { values["teacher." + entry.name] = entry.tensor.floatArray() }
      return Result(losses: report.losses.named.map(\.value), norms: report.norms.map(\.value), values: values)
    }
  }

  private static let stages: [(String, String)] = [
    ("stage 1", "{}"),
    ("groups of neighbours", #"{"dino": {"koleo_topk": 2, "koleo_distributed_loss_group_size": 4}}"#),
    ("no masks on most ranks", #"{"ibot": {"mask_sample_probability": 0.13}}"#),
    (
      "stage 2",
      #"""
      {"gram": {"use_loss": true, "img_level": true, "loss_weight": 2, "update_frequency": 2, "max_updates": 1, "ckpt": "PATH"},
       "crops": {"gram_teacher_crops_size": 48}}
      """#
    ),
  ]

  private func difference(_ a: [Float], _ b: [Float]) -> Double {
    let size = (b.reduce(0) { $0 + Double($1) * Double($1) } / Double(max(b.count, 1))).squareRoot()
    return zip(a, b).reduce(0) { max($0, abs(Double($1.0) - Double($1.1))) } / max(size, 1e-7)
  }

  /// Source: the issue's contract: ranks with a part of the batch each equal one process with the whole batch, to rounding.
  @Test(arguments: stages.indices, [2, 4]) func partsEqualTheWhole(stage: Int, size: Int) throws {
    try withTemporaryFolder { folder in
      var more = Self.stages[stage].1
      if more.contains("PATH") {
        let first = try Pretrainer(Self.settings(batch: 4, ranks: 1), source: noiseSource(), folder: folder + "/one", device: Self.device())
        more = more.replacing("PATH", with: try first.exportTeacher() + "/teacher_checkpoint.safetensors")
      }
      let text = more
      let whole = try Self.steps(2, Self.settings(batch: 4, ranks: 1, text), folder + "/whole")
      let parts = try ThreadRanks(size).run { ranks in
        try Self.steps(2, Self.settings(batch: 4 / size, ranks: size, text), folder + "/parts", ranks)
      }
      for (rank, part) in parts.enumerated() {
        for (step, (a, b)) in zip(part, whole).enumerated() {
          let place = "\(Self.stages[stage].0), rank \(rank) of \(size), step \(step)"
          #expect(a.losses.count == b.losses.count, "\(place)")
          for (x, y) in zip(a.losses + a.norms, b.losses + b.norms) { #expect(abs(x - y) < 2e-5 * max(1, abs(y)), "\(place): \(x), \(y)") }
          #expect(Set(a.values.keys) == Set(b.values.keys), "\(place)")
          for (name, values) in a.values {
            // The first moments of AdamW divide small gradients by themselves: rounding in them grows in the weights.
            let limit = name.hasPrefix("gradient.") ? (step == 0 ? 1e-4 : 3e-3) : 1e-3
            let off = difference(values, b.values[name] ?? [])
            #expect(off < limit, "\(place): \(name) differs by \(off)")
          }
        }
      }
      for part in parts.dropFirst() {
        for (a, b) in zip(part, parts[0]) { #expect(a.values == b.values) }
      }
    }
  }

  /// Only the first rank writes; another number of ranks goes on with the same batch in all.
  @Test func runsGoOnWithOtherRanks() throws {
    try withTemporaryFolder { folder in
      let steps = try ThreadRanks(2).run { ranks in
        let run = try Pretrainer(
          Self.settings(batch: 2, ranks: 2), source: noiseSource(count: 9), folder: folder, device: Self.device(), ranks: ranks)
        try run.run(until: 2)
        return run.iteration
      }
      #expect(steps == [2, 2])
      let lines = String(decoding: try InputFile.contents(folder + "/metrics.jsonl"), as: UTF8.self).split(separator: "\n")
      #expect(lines.count == 2)
      do {
        let alone = try Pretrainer(Self.settings(batch: 4, ranks: 1), source: noiseSource(count: 9), folder: folder, device: Self.device())
        #expect(alone.isResumed && alone.iteration == 2)
        try alone.run()
      }
      let again = try ThreadRanks(2).run { ranks in
        let run = try Pretrainer(
          Self.settings(batch: 2, ranks: 2), source: noiseSource(count: 9), folder: folder, device: Self.device(), ranks: ranks)
        return (run.iteration, run.isFinished)
      }
      #expect(again.allSatisfy { $0.0 == 3 && $0.1 })
      let other = #expect(throws: MedDINOError.self) {
        try Pretrainer(Self.settings(batch: 2, ranks: 1), source: noiseSource(count: 9), folder: folder, device: Self.device())
      }
      #expect(other?.message.contains("train.batch_size_per_gpu is 2, the run has 4") == true)
    }
  }

  /// Where a loss looks at one rank's images alone, the number of ranks is part of the run.
  @Test func ranksThatMatterMustStay() throws {
    try withTemporaryFolder { folder in
      let local = #"{"dino": {"koleo_loss_distributed": false}}"#
      _ = try ThreadRanks(2).run { ranks in
        try Pretrainer(
          Self.settings(batch: 2, ranks: 2, local), source: noiseSource(), folder: folder, device: Self.device(), ranks: ranks
        ).run(until: 1)
      }
      let error = #expect(throws: MedDINOError.self) {
        try Pretrainer(Self.settings(batch: 4, ranks: 1, local), source: noiseSource(), folder: folder, device: Self.device())
      }
      #expect(error?.message.contains("train.ranks") == true)
    }
  }

  @Test func ranksWithOtherSlicesAreNoticed() throws {
    try withTemporaryFolder { folder in
      for counts in [[9, 8], [9, 9]] {
        let errors = try ThreadRanks(2).run { ranks -> MedDINOError? in
          let count = counts[ranks.rank]
          let given = try noiseSource(count: count)
          let source = try CallbackSource(count: count, fingerprint: "slices of rank \(ranks.rank)") {
            (index, budget) throws(MedDINOError) in
            try given.slice(at: index, in: budget)
          }
          do {
            _ = try Pretrainer(Self.settings(batch: 2, ranks: 2), source: source, folder: folder, device: Self.device(), ranks: ranks)
          } catch let error as MedDINOError { return error }
          return nil
        }
        for error in errors { #expect(error?.kind == .invalid && error?.message.contains("rank 1 has other slices") == true) }
      }
    }
  }

  /// The entropies of a whole batch are those of its parts together, on all ranks.
  @Test func entropiesAreOfAllRanks() throws {
    @Sendable func entropies(_ settings: PretrainingSettings, _ ranks: any Communicator) throws -> [Double] {
      let run = try Pretrainer(settings, source: noiseSource(count: 9), folder: nil, device: Self.device(), ranks: ranks)
      let losses = try run.step().report.losses
      return [losses.teacherEntropy ?? -1, losses.teacherPatchEntropy ?? -1]
    }
    let whole = try entropies(Self.settings(batch: 4, ranks: 1), SoloCommunicator())
    let parts = try ThreadRanks(2).run { ranks in try entropies(Self.settings(batch: 2, ranks: 2), ranks) }
    #expect(parts[0] == parts[1])
    // Class tokens are as many on every rank; masked patches are not, so that their mean over the ranks is a little off.
    #expect(abs(parts[0][0] - whole[0]) < 1e-4 && abs(parts[0][1] - whole[1]) < 0.1, "\(parts) \(whole)")
  }

  @Test func ranksStopTogether() throws {
    try withTemporaryFolder { folder in
      let ends = try ThreadRanks(2).run { ranks in
        let run = try Pretrainer(
          Self.settings(batch: 2, ranks: 2), source: noiseSource(), folder: folder, device: Self.device(), ranks: ranks)
        let cancellation = Cancellation()
        do {
          // Only the second rank is told.
          try run.run(control: RunControl(cancellation: cancellation)) { _, _ in if ranks.rank == 1 { cancellation.request() } }
        } catch let error as MedDINOError { return (error.kind, run.iteration) }
        return (.internal, 0)
      }
      for end in ends { #expect(end.0 == .cancelled && end.1 == 1) }
      #expect(FileKind.of(folder + "/pretraining_0000000001.safetensors") == .regular)
    }
  }

  @Test func otherWeightsAreNoticed() throws {
    try withTemporaryFolder { folder in
      let error = #expect(throws: MedDINOError.self) {
        try ThreadRanks(2).run { ranks in
          let settings = try Self.settings(batch: 2, ranks: 2, #"{"train": {"seed": \#(ranks.rank)}}"#)
          _ = try Pretrainer(settings, source: noiseSource(), folder: folder, device: Self.device(), ranks: ranks)
        }
      }
      #expect(error?.kind == .state && error?.message.contains("the weights of rank 1 differ") == true)
    }
  }

  @Test func settingsAndRanksMustAgree() throws {
    try withTemporaryFolder { folder in
      let error = #expect(throws: MedDINOError.self) {
        try Pretrainer(Self.settings(batch: 2, ranks: 2), source: noiseSource(), folder: folder, device: Self.device())
      }
      #expect(error?.kind == .invalid && error?.message.contains("2 processes") == true)
      #expect(throws: MedDINOError.self) { try Self.settings(batch: 2, ranks: 0) }
    }
  }
}
