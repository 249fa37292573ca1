public import Platform
internal import WeightFiles

extension Plan {
  /// How one kind of array is resampled.
  public struct ResamplingRule: Equatable, Sendable {
    public var order: Int
    public var orderZ: Int
    /// nil: decided from the spacings.
    public var forceSeparateZ: Bool?
    public init(order: Int, orderZ: Int = 0, forceSeparateZ: Bool? = nil) {
      self.order = order
      self.orderZ = orderZ
      self.forceSeparateZ = forceSeparateZ
    }
  }

  /// One 2D configuration with everything inherited filled in.
  ///
  /// Units: spacing in mm, [rows, columns] of the transposed volume; patch size in pixels of that spacing.
  public struct Configuration: Equatable, Sendable {
    public var name: String
    public var dataIdentifier: String
    public var batchSize: Int
    public var patchSize: [Int]
    public var spacing: [Double]
    /// One per channel.
    public var normalization: [NormalizationScheme]
    public var useMaskForNorm: [Bool]
    public var dataResampling: ResamplingRule
    public var labelResampling: ResamplingRule
    public var logitResampling: ResamplingRule
    public var batchDice: Bool

    public init(
      name: String, patchSize: [Int], spacing: [Double], normalization: [NormalizationScheme], useMaskForNorm: [Bool]? = nil,
      dataResampling: ResamplingRule = ResamplingRule(order: 3), labelResampling: ResamplingRule = ResamplingRule(order: 1),
      logitResampling: ResamplingRule = ResamplingRule(order: 1), batchSize: Int = 2, batchDice: Bool = true, dataIdentifier: String? = nil
    ) {
      self.name = name
      self.dataIdentifier = dataIdentifier ?? "nnUNetPlans_" + name
      self.batchSize = batchSize
      self.patchSize = patchSize
      self.spacing = spacing
      self.normalization = normalization
      self.useMaskForNorm = useMaskForNorm ?? normalization.map { _ in false }
      self.dataResampling = dataResampling
      self.labelResampling = labelResampling
      self.logitResampling = logitResampling
      self.batchDice = batchDice
    }
  }

  /// The named configuration; without a name the only two-dimensional one.
  ///
  /// Throws: `.invalid` when the name is unknown or must be chosen, `.format` for a cycle or a broken entry,
  /// `.unsupported` for a three-dimensional configuration or an unknown function.
  public func configuration(_ name: String? = nil) throws(MedDINOError) -> Configuration {
    if let name {
      guard declared[name] != nil else {
        throw .invalid("configuration \"\(name)\" is not in the plan, which has: \(configurationNames.joined(separator: ", "))")
      }
      do { return try configuration(name, resolve(name)) } catch { throw error.within("configuration \"\(name)\"") }
    }
    let flat = configurationNames.filter { (try? resolve($0))?["patch_size"]?.arrayValue?.count == 2 }
    guard flat.count == 1 else {
      let list = flat.joined(separator: ", ")
      throw .invalid(flat.isEmpty ? "the plan has no 2D configuration" : "configuration is not named, expected one of: \(list)")
    }
    return try configuration(flat[0])
  }

  /// The entries of a configuration with those of its ancestors below them.
  func resolve(_ name: String) throws(MedDINOError) -> [String: JSON] {
    var result: [String: JSON] = [:]
    var visited: [String] = []
    var next: String? = name
    while let current = next {
      guard !visited.contains(current) else {
        throw .format("inherits_from goes in a circle: " + (visited + [current]).joined(separator: " -> "))
      }
      visited.append(current)
      guard let entry = declared[current] else {
        throw .invalid("configuration \"\(current)\" is not in the plan, which has: \(configurationNames.joined(separator: ", "))")
      }
      guard let fields = entry.objectValue else { throw .format("configuration \"\(current)\" is not an object") }
      next = nil
      for (key, value) in fields.entries {
        if key == "inherits_from" {
          guard let parent = value.stringValue else { throw .format("inherits_from is not a name") }
          next = parent
        } else if result[key] == nil {
          result[key] = value
        }
      }
    }
    return result
  }

  private func configuration(_ name: String, _ fields: [String: JSON]) throws(MedDINOError) -> Configuration {
    let patch = (fields["patch_size"]?.arrayValue ?? []).compactMap(\.intValue)
    let spacing = (fields["spacing"]?.arrayValue ?? []).compactMap(\.doubleValue)
    if patch.count == 3 || spacing.count == 3 { throw .unsupported("is three-dimensional, expected a 2D configuration") }
    guard patch.count == 2, patch.allSatisfy({ (1...65536).contains($0) }) else {
      throw .format("patch_size is missing or not two integers from 1 to 65536")
    }
    guard spacing.count == 2, spacing.allSatisfy({ $0 > 0 && $0.isFinite }) else {
      throw .format("spacing is missing or not two lengths above 0")
    }
    guard let names = fields["normalization_schemes"]?.arrayValue, !names.isEmpty, names.count <= 1024 else {
      throw .format("normalization_schemes is missing or empty")
    }
    var schemes: [NormalizationScheme] = []
    for item in names {
      guard let text = item.stringValue else { throw .format("normalization_schemes holds something else than names") }
      schemes.append(try NormalizationScheme(className: text))
    }
    let given = try Self.value(fields["use_mask_for_norm"], "use_mask_for_norm", "a list of booleans", \.arrayValue)
    let masks = given?.compactMap(\.boolValue) ?? schemes.map { _ in false }
    guard masks.count == schemes.count else {
      throw .format("use_mask_for_norm has \(masks.count) booleans, expected one per channel: \(schemes.count)")
    }
    let batch = try Self.value(fields["batch_size"], "batch_size", "a whole number from 1 to 65536", \.intValue) ?? 2
    guard (1...65536).contains(batch) else { throw .format("batch_size is \(batch), expected a whole number from 1 to 65536") }
    return try Configuration(
      name: name, patchSize: patch, spacing: spacing, normalization: schemes, useMaskForNorm: masks,
      dataResampling: Self.resampling(fields, "data", order: 3), labelResampling: Self.resampling(fields, "seg", order: 1),
      logitResampling: Self.resampling(fields, "probabilities", order: 1), batchSize: batch,
      batchDice: Self.value(fields["batch_dice"], "batch_dice", "true or false", \.boolValue) ?? true,
      dataIdentifier: Self.value(fields["data_identifier"], "data_identifier", "a folder name", \.stringValue))
  }

  /// What an entry holds; nil where it is absent or null. Throws: `.format` for one of another type.
  private static func value<T>(
    _ json: JSON?, _ key: String, _ expected: String, _ read: (JSON) -> T?
  ) throws(MedDINOError) -> T? {
    guard let json, !json.isNull else { return nil }
    guard let value = read(json) else { throw .format("\(key) is \(json.text().prefix(80)), expected \(expected)") }
    return value
  }

  private static func resampling(_ fields: [String: JSON], _ what: String, order: Int) throws(MedDINOError) -> ResamplingRule {
    let key = "resampling_fn_" + what
    let function = try value(fields[key], key, "a function's name", \.stringValue) ?? "resample_data_or_seg_to_shape"
    guard function == "resample_data_or_seg_to_shape" else {
      throw .unsupported("\(key) is \"\(function)\", expected \"resample_data_or_seg_to_shape\"")
    }
    var result = ResamplingRule(order: order)
    guard let arguments = try value(fields[key + "_kwargs"], key + "_kwargs", "an object", \.objectValue) else { return result }
    func argument<T>(_ name: String, _ expected: String, _ read: (JSON) -> T?) throws(MedDINOError) -> T? {
      try value(arguments[name], "\(key)_kwargs: \(name)", expected, read)
    }
    result.order = try argument("order", "0, 1 or 3", \.intValue) ?? order
    result.orderZ = try argument("order_z", "0, 1 or 3", \.intValue) ?? 0
    result.forceSeparateZ = try argument("force_separate_z", "true, false or null", \.boolValue)
    for value in [result.order, result.orderZ] where ![0, 1, 3].contains(value) {
      throw .unsupported("\(key)_kwargs has the spline order \(value), expected 0, 1 or 3")
    }
    if let flag = try argument("is_seg", "true or false", \.boolValue), flag != (what == "seg") {
      throw .format("\(key)_kwargs has is_seg \(flag), expected \(!flag)")
    }
    return result
  }
}
