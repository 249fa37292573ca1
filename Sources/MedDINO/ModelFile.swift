internal import Networks
public import Platform
public import Tensors
internal import WeightFiles

/// Our model file: one safetensors file; its metadata says everything else. Folds are `member.<k>/<name>`.
enum ModelFile {
  static let formatKey = "meddino.format"

  /// Parameters of one member inside a model file.
  struct Parameters: ParameterSource, Sendable {
    let file: SafeTensorsFile
    let prefix: String
    func contains(_ name: String) -> Bool { file.entry(prefix + name) != nil }
    func dtype(of name: String) -> DType? { file.dtype(of: prefix + name) }
    func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
      guard file.shape(of: prefix + name) == shape else {
        throw .format(
          "\(file.source.name): \(prefix + name) has shape \(file.shape(of: prefix + name)?.description ?? "(missing)"), expected \(shape)")
      }
      return try file.tensor(prefix + name, in: budget).asFloat32(in: budget)
    }
  }

  static func isModelFile(_ file: SafeTensorsFile) -> Bool { file.metadata[formatKey] != nil }

  /// Throws: `.unsupported` for a newer format, `.format` for anything missing or misshapen.
  static func open(_ file: SafeTensorsFile, context: Context) throws(MedDINOError) -> Model {
    let name = file.source.name
    guard let format = file.metadata[formatKey].flatMap({ Int($0) }) else { throw .format("\(name): no \(formatKey)") }
    guard format <= Build.modelFormat else {
      throw .unsupported("\(name): model file format \(format), this version reads up to \(Build.modelFormat)")
    }
    guard let text = file.metadata["architecture"] else { throw .format("\(name): metadata \"architecture\" is missing") }
    do {
      return try read(file, JSON.parse(text, source: "architecture"), context)
    } catch { throw error.kind == .invalid ? MedDINOError(.format, "\(name): \(error.message)") : error.within(name) }
  }

  private static func read(_ file: SafeTensorsFile, _ architecture: JSON, _ context: Context) throws(MedDINOError) -> Model {
    let encoder = try EncoderConfiguration(architecture["encoder"] ?? .null)
    var task: Model.Task?
    if let plans = file.metadata["plans"], let dataset = file.metadata["dataset"] {
      task = try ModelText.task(
        plans: plans, dataset: dataset, configuration: file.metadata["configuration"],
        taps: try integers(architecture, "taps"), mirrorAxes: try integers(architecture, "mirror_axes"), in: context.budget)
    }
    guard let text = file.metadata["members"], let count = Int(text), (1...1024).contains(count) else {
      throw .format("members is \"\(file.metadata["members"] ?? "(missing)")\", expected 1 to 1024")
    }
    let members = (0..<count).map { Parameters(file: file, prefix: "member.\($0)/") }
    let kept = ["provenance", "licence", "sha256", "layout", Model.postprocessingKey]
    var metadata = ModelText.metadata(encoder, task, layout: "meddino", licence: "unspecified", provenance: "{}")
    for key in kept { if let value = file.metadata[key] { metadata[key] = value } }
    let model = Model(
      context: context, encoder: encoder, task: task, labels: try ModelText.labels(task, stored: file.metadata["labels"]),
      metadata: metadata, members: members)
    if let configuration = model.primusConfiguration { try configuration.validate() }
    try model.checkFit()
    _ = try model.postprocessing()
    try check(file, model, count)
    return model
  }

  private static func integers(_ object: JSON, _ key: String) throws(MedDINOError) -> [Int] {
    let values = object[key]?.arrayValue?.compactMap(\.intValue) ?? []
    guard let list = object[key]?.arrayValue, list.count == values.count else {
      throw .format("architecture: \(key) is \(object[key]?.text() ?? "missing"), expected whole numbers")
    }
    return values
  }

  /// Every expected tensor is there in its shape, and nothing else is.
  private static func check(_ file: SafeTensorsFile, _ model: Model, _ members: Int) throws(MedDINOError) {
    var expected: [String: Shape] = [:]
    for member in 0..<members { for (name, shape) in model.parameterList { expected["member.\(member)/\(name)"] = shape } }
    var faults = Faults()
    for name in file.names {
      guard let shape = expected.removeValue(forKey: name) else {
        faults.add("extra \(name)")
        continue
      }
      if file.shape(of: name) != shape { faults.add("\(name) has shape \(file.shape(of: name)?.description ?? "?"), expected \(shape)") }
    }
    for name in expected.keys.sorted() { faults.add("missing \(name)") }
    try faults.raise("the model file does not fit its architecture")
  }

  private struct Faults {
    var first: [String] = []
    var count = 0
    mutating func add(_ text: String) {
      if first.count < 10 { first.append(text) }
      count += 1
    }
    func raise(_ what: String) throws(MedDINOError) {
      if count > 0 {
        throw .format("\(what): \(first.joined(separator: "; "))\(count > first.count ? "; and \(count - first.count) more" : "")")
      }
    }
  }
}

extension Model {
  /// Writes one file that `open` reads: whole or not at all. `bfloat16` halves the file and rounds the weights.
  /// Progress stages are "checksum" and "save". Throws: `.io`, `.outOfMemory`, `.cancelled`, and what reading the weights throws.
  public func save(to path: String, precision: Precision = .float32, control: RunControl = RunControl()) throws(MedDINOError) {
    let dtype: DType = precision == .float32 ? .float32 : .bfloat16
    var items: [SafeTensorsWriter.Item] = []
    for member in members.indices {
      items += parameterList.map { .init(name: "member.\(member)/\($0.0)", dtype: storedType($0.0, dtype), shape: $0.1) }
    }
    var texts = metadata
    texts[ModelFile.formatKey] = String(Build.modelFormat)
    texts["members"] = String(memberCount)
    texts["labels"] = JSON.array(labels.map(\.json)).text()
    try control.begin("checksum", from: 0, to: 0.5)
    texts["sha256"] = try checksum(items, control)
    try control.begin("save", from: 0.5, to: 1)
    let order = texts.keys.sorted()
    var done = 0
    try SafeTensorsWriter.write(items, metadata: order.map { ($0, texts[$0] ?? "") }, to: path) { (item) throws(MedDINOError) in
      let tensor = try stored(item)
      done += 1
      try control.update(Double(done) / Double(items.count))
      return tensor
    }
  }

  /// Reads every weight and compares with the SHA-256 that the file carries.
  /// The progress stage is "verify". Throws: `.state` when the model carries none, `.format` when it differs, `.io`, `.cancelled`.
  public func verify(control: RunControl = RunControl()) throws(MedDINOError) {
    guard let expected = metadata["sha256"] else { throw .state("the model carries no SHA-256") }
    var items: [SafeTensorsWriter.Item] = []
    for (index, member) in members.enumerated() {
      for (name, shape) in parameterList {
        let stored = (member as? ModelFile.Parameters)?.dtype(of: name) ?? .float32
        items.append(.init(name: "member.\(index)/\(name)", dtype: stored, shape: shape))
      }
    }
    try control.begin("verify", from: 0, to: 1)
    let found = try checksum(items, control)
    guard found == expected else { throw .format("the weights have SHA-256 \(found), the file says \(expected)") }
  }

  /// Periods keep float32: bfloat16 models were trained with exactly those values.
  private func storedType(_ name: String, _ dtype: DType) -> DType { name.hasSuffix("rope_embed.periods") ? .float32 : dtype }

  private func stored(_ item: SafeTensorsWriter.Item) throws(MedDINOError) -> Tensor {
    guard let slash = item.name.firstIndex(of: "/"), let member = Int(item.name[..<slash].dropFirst("member.".count)) else {
      throw MedDINOError(.internal, "\(item.name) names no member")
    }
    let name = String(item.name[item.name.index(after: slash)...])
    let value = try parameter(name, item.shape, members[member])
    if item.dtype == value.dtype { return value }
    let rounded = try Tensor(item.shape, .bfloat16, in: context.budget, item.name)
    let (from, to) = (value.floats, rounded.elements(UInt16.self))
    for index in 0..<value.count { to[index] = bfloat16Bits(from[index]) }
    withExtendedLifetime(value) {}
    return rounded
  }

  /// A stored tensor, or for buffers that the source does not hold, what the configuration says.
  private func parameter(_ name: String, _ shape: Shape, _ source: any ParameterSource) throws(MedDINOError) -> Tensor {
    if source.contains(name) { return try source.parameter(name, shape, in: context.budget) }
    if name.hasSuffix("rope_embed.periods") { return try Tensor(RopeTables.periods(encoder), shape, in: context.budget) }
    if name.hasSuffix("bias_mask") {
      let dim = encoder.embedDim
      return try Tensor((0..<3 * dim).map { dim..<2 * dim ~= $0 ? 0 : 1 }, shape, in: context.budget)
    }
    throw .format("parameter \(name) \(shape) is missing")
  }

  /// SHA-256 over the names and bytes of all tensors in file order.
  private func checksum(_ items: [SafeTensorsWriter.Item], _ control: RunControl) throws(MedDINOError) -> String {
    var hash = SHA256()
    for (index, item) in items.enumerated() {
      let tensor = try stored(item)
      item.name.utf8.withContiguousStorageIfAvailable { hash.update(UnsafeRawBufferPointer($0)) }
      withExtendedLifetime(tensor) { hash.update(UnsafeRawBufferPointer(tensor.bytes)) }
      try control.update(Double(index + 1) / Double(items.count))
    }
    return hash.finish().map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
  }
}
