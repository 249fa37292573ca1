public import CMedDINO
internal import MedDINO
internal import Platform
internal import Tensors

// include/meddino.h, section 4.

/// A model and the C strings that its accessors lend out.
final class ModelHandle: Sendable {
  let model: Model
  private let strings = CStrings()
  nonisolated(unsafe) private let texts: [String: UnsafePointer<CChar>]
  nonisolated(unsafe) private let labels: [(name: UnsafePointer<CChar>, scheme: UnsafePointer<CChar>?, code: UnsafePointer<CChar>?)]

  init(_ model: Model) {
    self.model = model
    let strings = strings
    texts = model.metadata.mapValues(strings.add)
    labels = model.labels.map { (strings.add($0.name), $0.codingScheme.map(strings.add), $0.code.map(strings.add)) }
  }

  func text(_ key: String) -> UnsafePointer<CChar>? { texts[key] }

  func label(_ index: Int) throws(MedDINOError) -> meddino_label {
    guard labels.indices.contains(index) else { throw .invalid("index is \(index), the model has \(labels.count) labels") }
    let source = model.labels[index]
    var label = meddino_label()
    label.value = Int32(clamping: source.value)
    label.rgba = (source.red, source.green, source.blue, source.alpha)
    label.name = labels[index].name
    label.coding_scheme = labels[index].scheme
    label.code = labels[index].code
    return label
  }

  var info: meddino_model_info {
    var info = meddino_model_info()
    info.labels = Int32(clamping: model.labels.count)
    info.output_kind = Int32(MEDDINO_OUTPUT_NONE)
    info.channels = 1
    info.patch = Int32(clamping: model.encoder.patchSize)
    info.embed_dim = Int32(clamping: model.encoder.embedDim)
    info.depth = Int32(clamping: model.encoder.depth)
    info.members = Int32(clamping: model.memberCount)
    info.weights_bytes = UInt64(model.weightBytes())
    guard let task = model.task else { return info }
    info.heads = Int32(clamping: task.scheme.heads.count)
    info.output_kind = Int32(task.scheme.hasRegions ? MEDDINO_OUTPUT_REGIONS : MEDDINO_OUTPUT_LABELS)
    info.channels = Int32(clamping: task.configuration.normalization.count)
    info.tile = (Int32(clamping: task.configuration.patchSize[0]), Int32(clamping: task.configuration.patchSize[1]))
    info.spacing = (task.configuration.spacing[0], task.configuration.spacing[1])
    return info
  }
}

@c @implementation public func meddino_model_options_init(_ options: UnsafeMutablePointer<meddino_model_options>?, _ size: Int) {
  initialize(options, size, meddino_model_options())
}

private func modelOptions(_ pointer: UnsafePointer<meddino_model_options>?) throws(MedDINOError) -> ModelOptions {
  var result = ModelOptions()
  guard let pointer else { return result }
  let o = try read(pointer, "options", defaults: meddino_model_options())
  if o.fold_mask != 0 { result.folds = (0..<64).filter { o.fold_mask >> UInt64($0) & 1 == 1 } }
  if let checkpoint = o.checkpoint { result.checkpoint = try text(checkpoint, "options.checkpoint") }
  if let configuration = o.configuration { result.configuration = try text(configuration, "options.configuration") }
  switch Int(o.rope) {
  case Int(MEDDINO_ROPE_MODEL): break
  case Int(MEDDINO_ROPE_BF16): result.encoder.ropePrecision = .bfloat16
  case Int(MEDDINO_ROPE_F32): result.encoder.ropePrecision = .float32
  default: throw .invalid("options.rope is \(o.rope), expected a MEDDINO_ROPE_ value")
  }
  guard o.reserved == 0 else { throw .invalid("options.reserved is \(o.reserved), expected 0") }
  return result
}

@c @implementation public func meddino_model_open(
  _ context: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ options: UnsafePointer<meddino_model_options>?,
  _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    let model = try Model.open(try text(path, "path"), options: try modelOptions(options), context: context)
    out.pointee = handle(ModelHandle(model))
  }
}

@c @implementation public func meddino_model_open_memory(
  _ context: OpaquePointer?, _ data: UnsafeRawPointer?, _ size: Int, _ free: meddino_free_fn?, _ user: UnsafeMutableRawPointer?,
  _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    // The bytes belong to the source from here on: whatever fails below, its deinit gives them back once.
    let source = data.map { bytes in
      MemorySource(bytes, size: max(size, 0)) {
        if let free { free(user, bytes) }
      }
    }
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    let bytes = try required(source, "data")
    guard size >= 0 else { throw .invalid("size is \(size), which is no size") }
    out.pointee = handle(ModelHandle(try Model.open(bytes, context: context)))
  }
}

@c @implementation public func meddino_model_create(
  _ context: OpaquePointer?, _ config: UnsafePointer<CChar>?, _ seed: UInt64, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    out.pointee = handle(ModelHandle(try Model.create(try settingsText(try required(config, "config_json"), "config_json"), seed: seed, context: context)))
  }
}

@c @implementation public func meddino_model_combine(
  _ models: UnsafePointer<OpaquePointer?>?, _ count: Int, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let models = try required(models, "models")
    guard (1...1024).contains(count) else { throw .invalid("count is \(count), expected 1 to 1024") }
    var list: [Model] = []
    for index in 0..<count { list.append(try object(models[index], "models[\(index)]", ModelHandle.self).model) }
    out.pointee = handle(ModelHandle(try Model.combine(list)))
  }
}

@c @implementation public func meddino_model_get_info(_ model: OpaquePointer?, _ out: UnsafeMutablePointer<meddino_model_info>?)
  -> meddino_status
{
  guarded { () throws(MedDINOError) in
    try write(try object(model, "model", ModelHandle.self).info, to: out, "out")
  }
}

@c @implementation public func meddino_model_get_label(
  _ model: OpaquePointer?, _ index: Int32, _ out: UnsafeMutablePointer<meddino_label>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    try write(try object(model, "model", ModelHandle.self).label(Int(index)), to: out, "out")
  }
}

@c @implementation public func meddino_model_metadata(_ model: OpaquePointer?, _ key: UnsafePointer<CChar>?) -> UnsafePointer<CChar>? {
  guard let handle = existing(model, ModelHandle.self), let key, let name = String(validatingCString: key) else { return nil }
  return handle.text(name)
}

@c @implementation public func meddino_model_release(_ model: OpaquePointer?) { release(model, ModelHandle.self) }
