import CMedDINO
import MedDINO
import MedDINOC
import Platform
import TestSupport
import Testing

/// Every buffer of training calls is refused once: the call says so and gives everything back, and the run goes on with the same bits.
@Suite struct TrainingAllocationTests {
  private static let config = """
    {"encoder": {"embed_dim": 32, "depth": 1, "num_heads": 1, "n_storage_tokens": 1, "layerscale_init": 1.0}, "taps": [0],
     "plans": {"transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
       "configurations": {"2d": {"batch_size": 2, "patch_size": [16, 16], "spacing": [1.0, 1.0],
         "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [false]}}},
     "dataset": {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1}, "numTraining": 1, "file_ending": ".nii.gz"}}
    """
  /// Batches are made on the calling thread, so that the order of allocations is always the same.
  private static let settings = #"{"epochs": 1, "iterations": 2, "validation_iterations": 1, "workers": 0, "seed": 3}"#
  private static let dims = (x: 24, y: 20, z: 2)
  private let ok = meddino_status(MEDDINO_OK)

  private func message() -> String {
    var text = [CChar](repeating: 0, count: 512)
    _ = meddino_last_error(&text, text.count)
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// One thread, so that no other makes allocations; a model, and a dataset of one case.
  private final class Host {
    var context, model, dataset: OpaquePointer?
    var budget = MemoryBudget()
    private var voxels: [Float] = []
    private var labels: [UInt8] = []

    init() throws {
      var options = meddino_context_options()
      meddino_context_options_init(&options, MemoryLayout<meddino_context_options>.size)
      options.threads = 1
      try #require(meddino_context_create(&options, &context) == meddino_status(MEDDINO_OK))
      let handle = try #require(context)
      budget = Unmanaged<Context>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue().budget
      try #require(meddino_model_create(handle, config, 3, &model) == meddino_status(MEDDINO_OK))
      let count = dims.x * dims.y * dims.z
      voxels = (0..<count).map { Float(($0 * 37 + $0 / 20 * 11) % 200) }
      labels = voxels.map { $0 > 120 ? 1 : 0 }
      try #require(meddino_dataset_create(model, &dataset) == meddino_status(MEDDINO_OK))
      try #require(add("case") == meddino_status(MEDDINO_OK))
    }
    deinit {
      meddino_dataset_release(dataset)
      meddino_model_release(model)
      meddino_context_release(context)
    }

    func add(_ name: String) -> meddino_status {
      var image = meddino_volume()
      meddino_volume_init(&image, MemoryLayout<meddino_volume>.size)
      image.dims = (Int64(dims.x), Int64(dims.y), Int64(dims.z))
      image.spacing = (1, 1, 2)
      image.data_bytes = voxels.count * 4
      var target = image
      target.dtype = Int32(MEDDINO_U8)
      target.data_bytes = labels.count
      return voxels.withUnsafeBytes { pixels in
        labels.withUnsafeBytes { values in
          image.data = pixels.baseAddress
          target.data = values.baseAddress
          return withUnsafePointer(to: &image) { pointer in
            var channel: UnsafePointer<meddino_volume>? = pointer
            return meddino_dataset_add(dataset, name, &channel, 1, &target, nil)
          }
        }
      }
    }

    func trainer() -> (status: meddino_status, handle: OpaquePointer?) {
      var options = meddino_train_options()
      meddino_train_options_init(&options, MemoryLayout<meddino_train_options>.size)
      var made: OpaquePointer?
      let status = settings.withCString { text in
        options.settings_json = text
        return meddino_trainer_create(context, model, dataset, &options, &made)
      }
      return (status, made)
    }
  }

  /// The bytes of what the trainer has learned. Nothing is refused while they are taken.
  private func learned(_ trainer: OpaquePointer?) throws -> [UInt8] {
    var model: OpaquePointer?
    try #require(meddino_trainer_export(trainer, &model) == ok, "\(message())")
    defer { meddino_model_release(model) }
    return try withTemporaryFolder { folder in
      try #require(meddino_model_save(model, folder + "/m.safetensors") == ok, "\(message())")
      return try InputFile.contents(folder + "/m.safetensors")
    }
  }

  /// Runs `call` on fresh trainers with allocation 0, 1, 2, … refused, then again without: that works and leaves the usual.
  private func failEach(_ host: Host, _ name: String, atLeast: Int, _ call: (OpaquePointer?) -> meddino_status) throws {
    func fresh() throws -> OpaquePointer? {
      let made = host.trainer()
      try #require(made.status == ok, "\(message())")
      return made.handle
    }
    let inUse = host.budget.bytesInUse
    let first = try fresh()
    host.budget.restartCount()
    try #require(call(first) == ok, "\(name): \(message())")
    let total = host.budget.allocationCount
    #expect(total >= atLeast, "\(name) makes \(total) allocations")
    let usual = try learned(first)
    meddino_trainer_release(first)
    var refused = 0
    for index in 0..<total {
      let trainer = try fresh()
      host.budget.restartCount()
      host.budget.failAllocation(index)
      let status = call(trainer)
      let said = message()
      host.budget.failAllocation(-1)
      // The tape gives back what it keeps for later and asks again: a buffer that is refused once may then be there.
      if status != ok {
        refused += 1
        #expect(status == meddino_status(MEDDINO_E_NOMEM) && !said.isEmpty, "\(name), allocation \(index): \(status) \(said)")
        #expect(call(trainer) == ok, "\(name) after allocation \(index): \(message())")
      }
      #expect(try learned(trainer) == usual, "\(name), allocation \(index)")
      meddino_trainer_release(trainer)
      #expect(host.budget.bytesInUse == inUse, "\(name), allocation \(index) leaks")
    }
    #expect(refused >= atLeast / 2, "\(name): \(refused) of \(total) refusals were told")
  }

  @Test func step() throws {
    try failEach(Host(), "step", atLeast: 30) { meddino_trainer_step($0, nil) }
  }

  @Test func validate() throws {
    try failEach(Host(), "validate", atLeast: 10) { meddino_trainer_validate($0, nil) }
  }

  @Test func export() throws {
    try failEach(Host(), "export", atLeast: 10) { trainer in
      var model: OpaquePointer?
      let status = meddino_trainer_export(trainer, &model)
      #expect((model != nil) == (status == meddino_status(MEDDINO_OK)))
      meddino_model_release(model)
      return status
    }
  }

  @Test func pushedBatch() throws {
    var images = meddino_tensor()
    images.struct_size = MemoryLayout<meddino_tensor>.size
    (images.dtype, images.ndim, images.shape) = (Int32(MEDDINO_F32), 4, (1, 1, 16, 16, 0, 0, 0, 0))
    let pixels = (0..<256).map { Float($0 % 17) / 8 - 1 }
    let values = (0..<256).map { Int64($0 % 17 > 8 ? 1 : 0) }
    try pixels.withUnsafeBytes { pixels in
      try values.withUnsafeBytes { values in
        var targets = images
        (images.data, images.data_bytes) = (pixels.baseAddress, pixels.count)
        (targets.dtype, targets.data, targets.data_bytes) = (Int32(MEDDINO_I64), values.baseAddress, values.count)
        try failEach(Host(), "step_batch", atLeast: 30) { trainer in
          var (x, y) = (images, targets)
          return meddino_trainer_step_batch(trainer, &x, &y, nil)
        }
      }
    }
  }

  @Test func createAndAdd() throws {
    let host = try Host()
    let inUse = host.budget.bytesInUse
    for (name, call) in [
      (
        "create",
        {
          let made = host.trainer()
          #expect((made.handle != nil) == (made.status == meddino_status(MEDDINO_OK)))
          meddino_trainer_release(made.handle)
          return made.status
        }
      ), ("add", { host.add("case") }),
    ] as [(String, () -> meddino_status)] {
      host.budget.restartCount()
      try #require(call() == ok, "\(name): \(message())")
      let total = host.budget.allocationCount
      #expect(total >= 5, "\(name) makes \(total) allocations")
      for index in 0..<total {
        host.budget.restartCount()
        host.budget.failAllocation(index)
        let status = call()
        let said = message()
        host.budget.failAllocation(-1)
        #expect(status == meddino_status(MEDDINO_E_NOMEM), "\(name), allocation \(index): \(status) \(said)")
        #expect(host.budget.bytesInUse == inUse, "\(name), allocation \(index) leaks")
      }
      #expect(call() == ok)
      #expect(meddino_dataset_count(host.dataset) == 1)
    }
  }
}
