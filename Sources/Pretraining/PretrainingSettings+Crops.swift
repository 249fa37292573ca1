internal import Platform
internal import WeightFiles

/// Crops and pixels of the settings. Source: model specification 7.1, 7.4.
extension PretrainingSettings {
  static func crops(_ reader: SettingsReader, patchSize: Int) throws(MedDINOError) -> CropOptions {
    var crops = CropOptions()
    crops.resolutions = try resolutions(reader)
    crops.globalScale = try reader.range("crops.global_crops_scale", in: 0...1)
    crops.localScale = try reader.range("crops.local_crops_scale", in: 0...1)
    crops.localCount = try reader.integer("crops.local_crops_number", in: 1...256)
    crops.horizontalFlips = try reader.flag("crops.horizontal_flips")
    crops.localCropsFromGlobal = try reader.flag("crops.localcrops_subset_of_globalcrops")
    crops.gramWithoutDistortions = try reader.flag("crops.gram_teacher_no_distortions")
    crops.sharesColorChanges = try reader.flag("crops.share_color_jitter")
    try crops.validate(patchSize: patchSize)
    return crops
  }

  /// Four lists of one length, or single values. Source: model specification 7.4.
  private static func resolutions(_ reader: SettingsReader) throws(MedDINOError) -> [CropOptions.Resolution] {
    let globals = try reader.sizes("crops.global_crops_size") ?? []
    let locals = try reader.sizes("crops.local_crops_size") ?? []
    let grams = try reader.sizes("crops.gram_teacher_crops_size")
    let ratios = try reader.numbers("crops.global_local_crop_pairs_ratios", in: 0...1e9) ?? []
    guard !globals.isEmpty, locals.count == globals.count, ratios.count == globals.count, grams.map({ $0.count == globals.count }) ?? true
    else {
      throw .invalid(
        "crops.global_crops_size, local_crops_size, gram_teacher_crops_size and global_local_crop_pairs_ratios have \(globals.count), "
          + "\(locals.count), \(grams?.count ?? 0) and \(ratios.count) entries, expected equal numbers")
    }
    return globals.indices.map { .init(global: globals[$0], local: locals[$0], gram: grams?[$0], ratio: ratios[$0]) }
  }

  static func pixels(_ reader: SettingsReader) throws(MedDINOError) -> PixelOptions {
    var pixels = PixelOptions()
    let augmentations = PixelOptions.Augmentation.allCases.map(\.rawValue)
    let normalizations = PixelOptions.Normalization.allCases.map(\.rawValue)
    pixels.augmentation = .init(rawValue: try reader.text("data.augmentation", oneOf: augmentations)) ?? .none
    pixels.normalization = .init(rawValue: try reader.text("data.normalization", oneOf: normalizations)) ?? .none
    pixels.mean = (try reader.numbers("crops.rgb_mean", in: -1e6...1e6) ?? []).map { Float($0) }
    pixels.deviation = (try reader.numbers("crops.rgb_std", in: 0...1e6) ?? []).map { Float($0) }
    return pixels
  }

  static func watch(_ reader: SettingsReader) throws(MedDINOError) -> WatchSettings {
    var labels: [Int] = []
    let chosen = reader.value("watch.probe_labels") ?? .array([])
    for value in chosen.arrayValue ?? [chosen] {
      guard let label = value.intValue, (1...65535).contains(label) else {
        throw .invalid("watch.probe_labels holds \(value.text()), expected a list of label values from 1 to 65535")
      }
      guard !labels.contains(label) else { throw .invalid("watch.probe_labels holds \(label) twice, expected each label once") }
      labels.append(label)
    }
    return WatchSettings(
      every: try reader.integer("watch.every", in: 0...(1 << 40)), slices: try reader.integer("watch.slices", in: 1...4096),
      maps: try reader.integer("watch.maps", in: 0...64), size: try reader.optionalInteger("watch.size", in: 1...8192),
      probeData: try reader.optionalText("watch.probe_data"), probeLabels: labels,
      probeSlices: try reader.integer("watch.probe_slices", in: 2...4096))
  }
}
