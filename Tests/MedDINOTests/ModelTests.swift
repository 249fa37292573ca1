import Imaging
import MedDINO
import Networks
import Platform
import Tensors
import TestSupport
import Testing
import WeightFiles

/// A seeded volume of HU-like values.
func testVolume(_ dims: [Int], seed: UInt64 = 5, in budget: MemoryBudget) throws -> Volume {
  let volume = try Volume(allocating: .int16, geometry: Geometry(dims: dims, spacing: [1.1, 0.9, 2.5]), in: budget)
  var random = SeededGenerator(seed)
  let values = volume.mutableBase.assumingMemoryBound(to: Int16.self)
  for index in 0..<volume.geometry.voxelCount { values[index] = Int16.random(in: -1000...400, using: &random) }
  return volume
}

func labelBytes(_ volume: Volume) -> [UInt8] {
  let bytes = UnsafeRawBufferPointer(start: volume.base, count: volume.geometry.voxelCount)
  return withExtendedLifetime(volume.owner) { Array(bytes) }
}

@Suite struct ModelTests {
  let context: Context
  init() throws { context = try Context(threads: 2) }

  private func segment(_ model: Model, _ volume: Volume, _ options: RunOptions = RunOptions()) throws -> [UInt8] {
    let labels = try Volume(allocating: .uint8, geometry: volume.geometry, in: context.budget)
    _ = try model.segment([volume], labels: labels, options: options)
    return labelBytes(labels)
  }

  @Test func aSavedModelGivesTheSameLabels() throws {
    try withTemporaryFolder { folder in
      let model = try TinyModel.segmenter(context)
      try model.save(to: folder + "/m.safetensors")
      let reopened = try Model.open(folder + "/m.safetensors", context: context)
      let volume = try testVolume([40, 37, 3], in: context.budget)
      let expected = try segment(model, volume)
      #expect(try segment(reopened, volume) == expected)
      #expect(Set(expected).count > 1)
      #expect(reopened.labels == model.labels)
      #expect(reopened.labels.map(\.name) == ["background", "liver", "spleen"])
      try reopened.verify()
    }
  }

  @Test func aBFloat16FileOpensAndVerifies() throws {
    try withTemporaryFolder { folder in
      let model = try TinyModel.segmenter(context)
      try model.save(to: folder + "/m.safetensors", precision: .bfloat16)
      let reopened = try Model.open(folder + "/m.safetensors", context: context)
      try reopened.verify()
      let volume = try testVolume([32, 32, 2], in: context.budget)
      let (a, b) = (try segment(model, volume), try segment(reopened, volume))
      let differing = zip(a, b).filter { $0.0 != $0.1 }.count
      #expect(differing * 20 < a.count)
    }
  }

  @Test func anEnsembleAveragesItsMembers() throws {
    let (a, b) = (try TinyModel.segmenter(context, seed: 1), try TinyModel.segmenter(context, seed: 2))
    let both = try Model.combine([a, b])
    #expect(both.memberCount == 2 && a.hasRandomWeights && both.hasRandomWeights)
    let images = try Tensor((0..<1024).map { Float($0 % 17) / 8 - 1 }, [1, 1, 32, 32], in: context.budget)
    let volume = try testVolume([32, 32, 1], in: context.budget)
    #expect(try segment(both, volume) != segment(a, volume) || segment(both, volume) != segment(b, volume))
    try withTemporaryFolder { folder in
      try both.save(to: folder + "/e.safetensors")
      let reopened = try Model.open(folder + "/e.safetensors", context: context)
      #expect(try segment(reopened, volume) == segment(both, volume))
      #expect(reopened.hasRandomWeights)
    }
    #expect(try a.logits(images).value(7) != b.logits(images).value(7))
  }

  @Test func sameBitsForAnyThreads() throws {
    let volume = try testVolume([50, 45, 4], in: context.budget)
    var first: [UInt8]?
    for threads in 1...3 {
      let own = try Context(threads: threads)
      let labels = try Volume(allocating: .uint8, geometry: volume.geometry, in: own.budget)
      _ = try TinyModel.segmenter(own).segment([volume], labels: labels)
      if let first { #expect(labelBytes(labels) == first) } else { first = labelBytes(labels) }
    }
  }

  @Test func faultyFilesAreRefusedWithTheReason() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/m.safetensors"
      try TinyModel.segmenter(context).save(to: path)
      let whole = try InputFile.contents(path)
      func reason(_ bytes: [UInt8]) throws -> MedDINOError? {
        try AtomicFile.write(bytes, to: folder + "/bad.safetensors")
        do {
          _ = try Model.open(folder + "/bad.safetensors", context: context)
          return nil
        } catch { return error }
      }
      for cut in [0, 4, 100, whole.count / 2, whole.count - 1] { #expect(try reason(Array(whole.prefix(cut)))?.kind == .format) }
      func replaced(_ from: String, _ to: String) -> [UInt8] {
        var bytes = whole
        let (a, b) = (Array(from.utf8), Array(to.utf8))
        precondition(a.count == b.count)
        if let at = bytes.indices.first(where: { bytes[$0...].starts(with: a) }) { bytes.replaceSubrange(at..<at + a.count, with: b) }
        return bytes
      }
      #expect(try reason(replaced("\"meddino.format\": \"1\"", "\"meddino.format\": \"9\""))?.kind == .unsupported)
      let renamed = try reason(replaced("blocks.1.norm1.weight", "blocks.7.norm1.weight"))
      #expect(renamed?.message.contains("blocks.7.norm1.weight") == true && renamed?.message.contains("missing") == true)
    }
  }

  @Test func aPlanThatDoesNotFitTheNetworkIsRefused() throws {
    // Tiles of 36 do not divide into patches of 8.
    #expect(throws: MedDINOError.self) { try TinyModel.segmenter(context, patch: 36) }
  }

  @Test func configurationFaultsNameTheKey() throws {
    for (text, word) in [
      ("{\"encoder\": {\"embed_dim\": 33}}", "embed_dim"), ("{\"encoder\": {\"colour\": 1}}", "colour"), ("{\"tapes\": []}", "tapes"),
      ("{\"encoder\": \"vit_huge9\"}", "vit_huge9"), ("[]", "object"), ("{\"encoder\": {\"embed_dim\": 1e300}}", "embed_dim"),
    ] {
      do {
        _ = try Model.create(text, seed: 0, context: context)
        Issue.record("accepted \(text)")
      } catch { #expect(error.message.contains(word), "\(error.message)") }
    }
  }

  @Test func aBackboneGivesFeaturesButNoLabels() throws {
    let model = try TinyModel.backbone(context)
    let volume = try testVolume([24, 24, 3], in: context.budget)
    do {
      _ = try segment(model, volume)
      Issue.record("a backbone segmented")
    } catch let error as MedDINOError { #expect(error.kind == .unsupported) }
    var options = FeatureOptions()
    options.blocks = [0, 1]
    let features = try Features(model, volume, options: options)
    #expect(features.tokens.shape == [3, 2, 3, 3, 32])
    let rgb = try Volume(allocating: .uint8, channels: 3, geometry: Geometry(dims: [3, 3, 3]), in: context.budget)
    try features.principalComponents(into: rgb)
    let cosine = try Volume(allocating: .float32, geometry: Geometry(dims: [3, 3, 3]), in: context.budget)
    try features.similarity(to: [volume.geometry.point([4, 12, 1])], into: cosine)
    #expect(abs(cosine.value(0, 1, 1) - 1) < 1e-6)
    #expect(throws: MedDINOError.self) { try features.similarity(to: [[1000, 0, 0]], into: cosine) }
    #expect(throws: MedDINOError.self) { try features.similarity(to: [[1.7e308, -1.7e308, 1.7e308]], into: cosine) }
  }

  @Test func theEstimateBoundsTheMeasuredPeak() throws {
    let model = try TinyModel.segmenter(context, patch: 64)
    let volume = try testVolume([100, 90, 3], in: context.budget)
    let estimate = try model.estimate(volume.geometry)
    try model.prepare()
    let before = context.budget.bytesInUse
    let own = MemoryBudget()
    _ = own
    _ = try segment(model, volume)
    let peak = context.budget.peakBytes - before
    #expect(peak <= estimate.peakBytes * 13 / 10 + 100_000, "peak \(peak), estimate \(estimate.peakBytes)")
    #expect(estimate.forwards > 0 && estimate.flops > 0)
  }
}
