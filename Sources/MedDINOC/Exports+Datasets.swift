public import CMedDINO
internal import Imaging
internal import MedDINO
internal import Platform
internal import Synchronization

// include/meddino.h, section 9: datasets.

/// A dataset of either kind, and the identifiers that its accessor lends out.
final class DatasetHandle: Sendable {
  enum Contents: Sendable {
    case cases(TrainingDataset)
    case slices(PretrainingDataset)
  }
  private let contents: Contents
  private let strings = CStrings()
  /// Addresses of identifiers that were asked for: they outlive a case that is replaced.
  private let lent = Mutex<[String: Int]>([:])
  init(_ dataset: TrainingDataset) { contents = .cases(dataset) }
  init(_ dataset: PretrainingDataset) { contents = .slices(dataset) }

  /// Throws: `.invalid` for the other kind.
  func cases() throws(MedDINOError) -> TrainingDataset {
    guard case .cases(let dataset) = contents else {
      throw .invalid("dataset holds slices without labels, expected labelled cases")
    }
    return dataset
  }
  func slices() throws(MedDINOError) -> PretrainingDataset {
    guard case .slices(let dataset) = contents else {
      throw .invalid("dataset holds labelled cases, expected slices (meddino_dataset_open_slices, meddino_dataset_from_slices)")
    }
    return dataset
  }
  var count: Int {
    switch contents {
    case .cases(let dataset): dataset.cases.count
    case .slices(let dataset): dataset.count
    }
  }

  func identifier(_ index: Int) -> UnsafePointer<CChar>? {
    guard case .cases(let dataset) = contents else { return nil }
    let cases = dataset.cases
    guard cases.indices.contains(index) else { return nil }
    let name = cases[index].identifier
    let address = lent.withLock { lent in
      if let known = lent[name] { return known }
      let made = Int(bitPattern: strings.add(name))
      lent[name] = made
      return made
    }
    return UnsafePointer(bitPattern: address)
  }
}

@c @implementation public func meddino_dataset_prepare(
  _ context: OpaquePointer?, _ raw: UnsafePointer<CChar>?, _ prepared: UnsafePointer<CChar>?,
  _ options: UnsafePointer<meddino_train_options>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let context = try object(context, "context", Context.self)
    let folder = try text(raw, "raw_folder")
    let target = try text(prepared, "prepared_folder")
    let parsed = try ParsedTraining(options)
    let report = try DatasetPreparation.run(
      folder, to: target, options: DatasetPreparation.Options(parsed.settings), context: context, maxBytes: parsed.maxBytes,
      control: parsed.watch.control())
    try report.requireNoProblems(folder)
  }
}

@c @implementation public func meddino_dataset_open(
  _ context: OpaquePointer?, _ folder: UnsafePointer<CChar>?, _ configuration: UnsafePointer<CChar>?,
  _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    let name = try configuration.map { (pointer) throws(MedDINOError) in try text(pointer, "configuration") }
    out.pointee = handle(DatasetHandle(try TrainingDataset(try text(folder, "folder"), configuration: name, context: context)))
  }
}

@c @implementation public func meddino_dataset_create(_ like: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?)
  -> meddino_status
{
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    out.pointee = handle(DatasetHandle(try TrainingDataset(like: try object(like, "like", ModelHandle.self).model)))
  }
}

@c @implementation public func meddino_dataset_add(
  _ dataset: OpaquePointer?, _ identifier: UnsafePointer<CChar>?, _ channels: UnsafePointer<UnsafePointer<meddino_volume>?>?, _ count: Int,
  _ labels: UnsafePointer<meddino_volume>?, _ options: UnsafePointer<meddino_train_options>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let dataset = try object(dataset, "dataset", DatasetHandle.self).cases()
    let name = try text(identifier, "identifier")
    let images = try inputs(channels, count)
    let target = try volume(labels, "labels", .input)
    let parsed = try ParsedTraining(options).withoutSettings("a case is prepared as the dataset's plan says")
    let budget = MemoryBudget(limit: parsed.maxBytes, parent: dataset.context.budget)
    try dataset.add(name, images, labels: target, in: budget, control: parsed.watch.control())
  }
}

@c @implementation public func meddino_dataset_add_cases(
  _ dataset: OpaquePointer?, _ count: Int64, _ next: meddino_case_fn?, _ user: UnsafeMutableRawPointer?,
  _ options: UnsafePointer<meddino_train_options>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let dataset = try object(dataset, "dataset", DatasetHandle.self).cases()
    let next = try required(next, "next")
    guard (1...1 << 20).contains(count) else { throw .invalid("count is \(count), expected 1 to 1048576") }
    guard dataset.folder == nil else { throw .state("the dataset is a folder, cases can be added to a dataset in memory") }
    let parsed = try ParsedTraining(options).withoutSettings("a case is prepared as the dataset's plan says")
    let budget = MemoryBudget(limit: parsed.maxBytes, parent: dataset.context.budget)
    let control = parsed.watch.control()
    for index in 0..<count {
      try control.check()
      let part = control.span(Double(index) / Double(count), Double(index + 1) / Double(count))
      try add(index, next, user, to: dataset, budget, part)
    }
  }
}

/// Asks the callback for one case and adds it. Throws: `.cancelled` when the callback stops; as `TrainingDataset.add`.
private func add(
  _ index: Int64, _ next: meddino_case_fn, _ user: UnsafeMutableRawPointer?, to dataset: TrainingDataset, _ budget: MemoryBudget,
  _ control: RunControl
) throws(MedDINOError) {
  let count = dataset.configuration.normalization.count
  var empty = defaultVolume()
  empty.dims = (0, 0, 0)
  empty.struct_size = MemoryLayout<meddino_volume>.size
  var labels = empty
  var identifier: UnsafePointer<CChar>?
  var views = [meddino_volume](repeating: empty, count: count)
  let answer = views.withUnsafeMutableBufferPointer { next(user, index, $0.baseAddress, count, &labels, &identifier) }
  guard answer == 0 else { throw .cancelled }
  let name = try identifier.map { (pointer) throws(MedDINOError) in try text(pointer, "identifier of case \(index)") } ?? "case_\(index)"
  var images: [Volume] = []
  for channel in views.indices { images.append(try volume(&views[channel], "case \(name): channels[\(channel)]", .input)) }
  try dataset.add(name, images, labels: try volume(&labels, "case \(name): labels", .input), in: budget, control: control)
}

@c @implementation public func meddino_dataset_count(_ dataset: OpaquePointer?) -> Int {
  existing(dataset, DatasetHandle.self)?.count ?? 0
}

@c @implementation public func meddino_dataset_case(_ dataset: OpaquePointer?, _ index: Int) -> UnsafePointer<CChar>? {
  existing(dataset, DatasetHandle.self)?.identifier(index)
}

@c @implementation public func meddino_dataset_release(_ dataset: OpaquePointer?) { release(dataset, DatasetHandle.self) }
