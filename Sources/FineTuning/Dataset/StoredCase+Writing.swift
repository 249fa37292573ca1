internal import Imaging
internal import Platform
internal import Segmentation
internal import Tensors
internal import WeightFiles

/// What a preprocessed case was made from: when both agree, it need not be made again.
struct CaseStamp: Equatable, Sendable {
  /// Sizes and times of the source files.
  let source: String
  /// Everything of plan and labels that preprocessing depends on.
  let plan: String

  /// nil when the file is none of ours or cannot be read.
  init?(of path: String) {
    guard FileKind.of(path) == .regular, let file = try? SafeTensorsFile(InputFile(path)),
      let properties = try? StoredCase.properties(file, path), properties["format"]?.intValue == StoredCase.formatVersion,
      let source = properties["source"]?.stringValue, let plan = properties["plan"]?.stringValue
    else { return nil }
    self.source = source
    self.plan = plan
  }

  /// Throws: `.io` when a file is missing.
  init(_ files: RawDataset.Case, planHash: String) throws(MedDINOError) {
    var text = ""
    // Names without folders: a dataset that was moved is still the same.
    for path in files.images + [files.label] { text += "\(path.split(separator: "/").last ?? "") \(try FileStamp(path))\n" }
    source = hash(text)
    plan = planHash
  }

  /// Of the parts of a plan that shape preprocessed cases. Patch and batch size do not.
  static func planHash(_ plan: Plan, _ configuration: Plan.Configuration, _ scheme: LabelScheme) -> String {
    var text = "\(plan.imageReader) \(plan.transposeForward) \(configuration.spacing) \(configuration.normalization.map(\.rawValue))"
    text += " \(configuration.useMaskForNorm) \(scheme.locationKeys.map(\.values))"
    for rule in [configuration.dataResampling, configuration.labelResampling] {
      text += " \(rule.order) \(rule.orderZ) \(rule.forceSeparateZ.map(String.init) ?? "auto")"
    }
    for properties in plan.intensityProperties {
      let values = properties.map { [$0.mean, $0.std, $0.percentile005, $0.percentile995] } ?? []
      text += " \(values)"
    }
    return hash(text)
  }
}

/// SHA-256 of a text, in hexadecimal.
func hash(_ text: String) -> String {
  var sum = SHA256()
  Array(text.utf8).withUnsafeBytes { sum.update($0) }
  return sum.finish().map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
}

extension StoredCase {
  /// Writes a case, whole or not at all. Throws: `.io`, `.outOfMemory`, `.invalid` without labels.
  static func write(
    _ contents: PreprocessedCase, identifier: String, geometry: Geometry, plan: Plan, configuration: Plan.Configuration,
    scheme: LabelScheme, stamp: CaseStamp, to path: String, in budget: MemoryBudget
  ) throws(MedDINOError) {
    guard let labels = contents.labels else { throw .invalid("case \(identifier) has no labels, training needs them") }
    let largest = labels.elements(Int16.self).max() ?? 0
    let isNarrow = largest <= 127
    var items = [
      SafeTensorsWriter.Item(name: "data", dtype: .float32, shape: contents.data.shape),
      SafeTensorsWriter.Item(name: "seg", dtype: isNarrow ? .int8 : .int16, shape: labels.shape),
    ]
    var positions: [String: Tensor] = [:]
    for (index, found) in contents.locations.enumerated() {
      guard let places = found.positions else { continue }
      items.append(SafeTensorsWriter.Item(name: "locations.\(index)", dtype: .int32, shape: places.shape))
      positions["locations.\(index)"] = places
    }
    let properties = contents.properties
    let json = JSON.object(
      ("format", .integer(formatVersion)), ("identifier", .string(identifier)), ("configuration", .string(configuration.name)),
      ("source", .string(stamp.source)), ("plan", .string(stamp.plan)), ("image_reader_writer", .string(plan.imageReader)),
      ("spacing", .numbers(geometry.spacing.reversed())), ("spacing_transposed", .numbers(properties.spacing)),
      ("target_spacing", .numbers([properties.spacing[0]] + configuration.spacing)),
      ("transpose_forward", .integers(plan.transposeForward)),
      ("shape_before_cropping", .integers(properties.shapeBeforeCropping)),
      ("bbox_used_for_cropping", .array(properties.boundingBox.ranges.map { .integers([$0.lowerBound, $0.upperBound]) })),
      ("shape_after_cropping_and_before_resampling", .integers(properties.shapeAfterCropping)),
      (
        "geometry",
        .object(
          ("dims", .integers(geometry.dims)), ("spacing", .numbers(geometry.spacing)), ("origin", .numbers(geometry.origin)),
          ("direction", .numbers(geometry.direction)))
      ), ("location_keys", .array(scheme.locationKeys.map { .integers($0.values) })))
    try SafeTensorsWriter.write(items, metadata: [(metadataKey, json.text())], to: path) { (item) throws(MedDINOError) in
      switch item.name {
      case "data": return contents.data
      case "seg": return isNarrow ? try narrowed(labels, in: budget) : labels
      default: return positions[item.name] ?? contents.data
      }
    }
  }

  private static func narrowed(_ labels: Tensor, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let result = try Tensor(labels.shape, .int8, in: budget, "labels")
    let (from, to) = (labels.elements(Int16.self), result.elements(Int8.self))
    for index in from.indices { to[index] = Int8(clamping: from[index]) }
    withExtendedLifetime(labels) {}
    return result
  }
}
