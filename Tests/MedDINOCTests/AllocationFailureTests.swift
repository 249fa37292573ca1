import CMedDINO
import MedDINO
import MedDINOC
import Platform
import TestSupport
import Testing

/// Every buffer of every call is refused once: the call says so, gives everything back, and the next one works.
@Suite struct AllocationFailureTests {
  private static let config = """
    {"encoder": {"embed_dim": 32, "depth": 1, "num_heads": 1, "n_storage_tokens": 1, "layerscale_init": 1.0}, "taps": [0],
     "plans": {"transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
       "configurations": {"2d": {"patch_size": [16, 16], "spacing": [1.0, 1.0],
         "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [true]}}},
     "dataset": {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1, "b": 2}, "numTraining": 1, "file_ending": ".nii.gz"}}
    """
  private static let dims = (x: 20, y: 18, z: 2)
  private static let count = dims.x * dims.y * dims.z

  /// A context whose budget a test may spoil.
  private final class Host {
    let handle: OpaquePointer
    let budget: MemoryBudget
    let voxels: UnsafeMutablePointer<Float>
    init() throws {
      var options = meddino_context_options()
      meddino_context_options_init(&options, MemoryLayout<meddino_context_options>.size)
      options.threads = 2
      var made: OpaquePointer?
      try #require(meddino_context_create(&options, &made) == meddino_status(MEDDINO_OK))
      handle = try #require(made)
      budget = Unmanaged<Context>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue().budget
      voxels = .allocate(capacity: AllocationFailureTests.count)
      for index in 0..<AllocationFailureTests.count { voxels[index] = Float((index * 37 + index / 20 * 11) % 200) }
      voxels[3] = 0
    }
    deinit {
      voxels.deallocate()
      meddino_context_release(handle)
    }

    var volume: meddino_volume {
      var v = meddino_volume()
      meddino_volume_init(&v, MemoryLayout<meddino_volume>.size)
      v.dims = (Int64(AllocationFailureTests.dims.x), Int64(AllocationFailureTests.dims.y), Int64(AllocationFailureTests.dims.z))
      v.spacing = (0.9, 0.8, 3)
      v.data = UnsafeRawPointer(voxels)
      v.data_bytes = AllocationFailureTests.count * 4
      return v
    }

    func model() throws -> OpaquePointer {
      var made: OpaquePointer?
      try #require(meddino_model_create(handle, AllocationFailureTests.config, 3, &made) == meddino_status(MEDDINO_OK))
      return try #require(made)
    }
  }

  /// A call's status and what it produced, as bytes that can be compared.
  private typealias Outcome = (status: meddino_status, bytes: [UInt8])

  private func lastError() -> String {
    var text = [CChar](repeating: 0, count: 512)
    _ = meddino_last_error(&text, text.count)
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Runs `call` with allocation 0, 1, 2, … failing until one run makes fewer; every outcome is NOMEM or the usual result.
  private func failEach(_ host: Host, _ name: String, atLeast: Int, _ call: () throws -> Outcome) throws {
    let usual = try call()
    try #require(usual.status == meddino_status(MEDDINO_OK), "\(name): \(lastError())")
    let inUse = host.budget.bytesInUse
    host.budget.restartCount()
    #expect(try call() == usual)
    let total = host.budget.allocationCount
    #expect(total >= atLeast, "\(name) makes \(total) allocations")
    var refused = 0
    for index in 0..<total {
      host.budget.restartCount()
      host.budget.failAllocation(index)
      let outcome = try call()
      let message = lastError()
      host.budget.failAllocation(-1)
      if outcome.status == meddino_status(MEDDINO_OK) {
        #expect(outcome.bytes == usual.bytes, "\(name), allocation \(index)")
      } else {
        refused += 1
        #expect(outcome.status == meddino_status(MEDDINO_E_NOMEM), "\(name), allocation \(index): \(message)")
        #expect(!message.isEmpty)
      }
      #expect(host.budget.bytesInUse == inUse, "\(name), allocation \(index) leaks")
    }
    #expect(refused > 0)
    #expect(try call() == usual)
    #expect(host.budget.bytesInUse == inUse)
  }

  private func saved(_ host: Host) throws -> [UInt8] {
    let model = try host.model()
    defer { meddino_model_release(model) }
    return try withTemporaryFolder { folder in
      let path = folder + "/model.safetensors"
      try #require(meddino_model_save(model, path) == meddino_status(MEDDINO_OK), "\(lastError())")
      return try InputFile.contents(path)
    }
  }

  @Test func openFromMemory() throws {
    let host = try Host()
    let file = try saved(host)
    try file.withUnsafeBytes { bytes in
      try failEach(host, "open_memory and segment", atLeast: 20) {
        var model: OpaquePointer?
        let status = meddino_model_open_memory(host.handle, bytes.baseAddress, bytes.count, nil, nil, &model)
        guard status == meddino_status(MEDDINO_OK) else {
          #expect(model == nil)
          return (status, [])
        }
        defer { meddino_model_release(model) }
        return segment(host, model)
      }
    }
  }

  private func segment(_ host: Host, _ model: OpaquePointer?) -> Outcome {
    var labels = [UInt8](repeating: 0xee, count: Self.count)
    var report: OpaquePointer?
    let status = labels.withUnsafeMutableBytes { buffer in
      var input = host.volume
      var target = host.volume
      target.dtype = Int32(MEDDINO_U8)
      target.data = nil
      target.writable = buffer.baseAddress
      target.data_bytes = buffer.count
      return withUnsafePointer(to: &input) { pointer in
        var channel: UnsafePointer<meddino_volume>? = pointer
        return meddino_segment(model, &channel, 1, nil, &target, nil, &report)
      }
    }
    #expect((report != nil) == (status == meddino_status(MEDDINO_OK)))
    meddino_report_release(report)
    return (status, status == meddino_status(MEDDINO_OK) ? labels : [])
  }

  @Test func segmentLoadedModel() throws {
    let host = try Host()
    let model = try host.model()
    defer { meddino_model_release(model) }
    try failEach(host, "segment", atLeast: 15) { segment(host, model) }
  }

  /// A job's refusals come from its wait; the report too counts.
  @Test func segmentAsJob() throws {
    let host = try Host()
    let model = try host.model()
    defer { meddino_model_release(model) }
    try failEach(host, "segment_async", atLeast: 15) {
      var labels = [UInt8](repeating: 0xee, count: Self.count)
      let status = labels.withUnsafeMutableBytes { buffer -> meddino_status in
        var input = host.volume
        var target = host.volume
        (target.dtype, target.data, target.writable, target.data_bytes) = (Int32(MEDDINO_U8), nil, buffer.baseAddress, buffer.count)
        var job: OpaquePointer?
        let started = withUnsafePointer(to: &input) { pointer -> meddino_status in
          var channel: UnsafePointer<meddino_volume>? = pointer
          return meddino_segment_async(model, &channel, 1, nil, &target, nil, &job)
        }
        defer { meddino_job_release(job) }
        return started == meddino_status(MEDDINO_OK) ? meddino_job_wait(job, -1) : started
      }
      return (status, status == meddino_status(MEDDINO_OK) ? labels : [])
    }
  }

  /// Reading (a scaled file, which is read and widened), as a model wants it and as ITK does, and writing.
  @Test func imageFiles() throws {
    let host = try Host()
    let model = try host.model()
    defer { meddino_model_release(model) }
    try withTemporaryFolder { folder in
      let path = folder + "/scaled.nii"
      var image: OpaquePointer?
      var volume = host.volume
      try #require(meddino_image_create(host.handle, &volume, &image) == meddino_status(MEDDINO_OK))
      try #require(meddino_image_write(image, path) == meddino_status(MEDDINO_OK))
      meddino_image_release(image)
      var bytes = try InputFile.contents(path)
      bytes.replaceSubrange(112..<116, with: littleEndian([Float(2)]))
      try AtomicFile.write(bytes, to: path)
      try failEach(host, "image_read_for and image_write", atLeast: 2) {
        var image: OpaquePointer?
        let status = meddino_image_read_for(model, path, nil, &image)
        #expect((image != nil) == (status == meddino_status(MEDDINO_OK)))
        defer { meddino_image_release(image) }
        guard status == meddino_status(MEDDINO_OK) else { return (status, []) }
        let copy = folder + "/copy.nii.gz"
        return (meddino_image_write(image, copy), try InputFile.contents(copy))
      }
    }
  }

  /// Saving with rounded weights, opening the file and verifying it.
  @Test func modelFiles() throws {
    let host = try Host()
    let model = try host.model()
    defer { meddino_model_release(model) }
    try withTemporaryFolder { folder in
      let path = folder + "/m.safetensors"
      try failEach(host, "model_save_with, model_open, model_verify", atLeast: 20) {
        var options = meddino_save_options()
        meddino_save_options_init(&options, MemoryLayout<meddino_save_options>.size)
        options.precision = Int32(MEDDINO_PRECISION_BF16)
        let saved = meddino_model_save_with(model, path, &options)
        guard saved == meddino_status(MEDDINO_OK) else { return (saved, []) }
        var opened: OpaquePointer?
        let status = meddino_model_open(host.handle, path, nil, &opened)
        defer { meddino_model_release(opened) }
        guard status == meddino_status(MEDDINO_OK) else { return (status, []) }
        let verified = meddino_model_verify(opened, nil)
        return (verified, verified == meddino_status(MEDDINO_OK) ? try InputFile.contents(path) : [])
      }
    }
  }

  @Test func segmentImage() throws {
    let host = try Host()
    let model = try host.model()
    defer { meddino_model_release(model) }
    try failEach(host, "image_create and segment_image", atLeast: 15) {
      var image: OpaquePointer?
      var labels: OpaquePointer?
      var volume = host.volume
      var status = meddino_image_create(host.handle, &volume, &image)
      defer {
        meddino_image_release(image)
        meddino_image_release(labels)
      }
      guard status == meddino_status(MEDDINO_OK) else { return (status, []) }
      status = meddino_segment_image(model, image, nil, &labels, nil)
      guard status == meddino_status(MEDDINO_OK) else {
        #expect(labels == nil)
        return (status, [])
      }
      var view = host.volume
      try #require(meddino_image_view(labels, &view) == meddino_status(MEDDINO_OK))
      return (status, Array(UnsafeRawBufferPointer(start: view.data, count: view.data_bytes)))
    }
  }

  @Test func featuresAndComponents() throws {
    let host = try Host()
    let model = try host.model()
    defer { meddino_model_release(model) }
    try failEach(host, "features and pca", atLeast: 10) {
      var features: OpaquePointer?
      var volume = host.volume
      let status = meddino_features_create(model, &volume, nil, nil, &features)
      guard status == meddino_status(MEDDINO_OK) else {
        #expect(features == nil)
        return (status, [])
      }
      defer { meddino_features_release(features) }
      var rgb = [UInt8](repeating: 0, count: 2 * 2 * 2 * 3)
      let drawn = rgb.withUnsafeMutableBytes { buffer in
        var target = meddino_volume()
        meddino_volume_init(&target, MemoryLayout<meddino_volume>.size)
        target.dtype = Int32(MEDDINO_U8)
        target.channels = 3
        target.dims = (2, 2, 2)
        target.writable = buffer.baseAddress
        target.data_bytes = buffer.count
        return meddino_features_pca(features, nil, &target)
      }
      return (drawn, drawn == meddino_status(MEDDINO_OK) ? rgb : [])
    }
  }
}
