internal import Imaging
internal import Platform
internal import Slices
internal import Tensors

extension CurationRun {
  /// Bytes of stored slices that are made at once.
  private static let blockBytes = 64 << 20
  private static let blockSlices = 64

  /// Cuts one volume into slices and keeps those that the rules keep. The first slices are in shards already when there are digests of
  /// them.
  func cut(
    _ index: Int, _ loaded: Loaded, _ known: [SliceDigest], _ control: RunControl
  ) throws(MedDINOError) -> SliceCase {
    let volume = plan.volumes[index]
    var record = SliceCase(name: volume.name, file: volume.file)
    do throws(MedDINOError) {
      let image: Volume
      switch loaded {
      case .volume(let volume): image = volume
      case .bad(let error): throw error
      }
      try describe(image, &record)
      if record.leftOut == nil {
        let extractor = try SliceExtractor(image, rules: plan.rules, in: budget)
        record.tilt = extractor.tilt
        record.leftOut = try reason(extractor, control)
        if record.leftOut == nil { try cut(index, extractor, known, &record, control) }
      }
    } catch {
      let isOfVolume = [.format, .unsupported, .io, .invalid, .shape].contains(error.kind)
      guard options.badCase == .skip, isOfVolume, record.slices.seen == 0 else {
        // A disk that is full names its own file.
        throw isOfVolume && error.kind != .io && !error.message.contains(volume.path) ? error.within(volume.path) : error
      }
      // Without the place of the source, so that the same set comes from a copy of it elsewhere.
      record.leftOut = error.message.hasPrefix(volume.path) ? volume.file + error.message.dropFirst(volume.path.count) : error.message
    }
    if let reason = record.leftOut { log(.warning, "\(volume.name) is left out: \(reason)") }
    return record
  }

  private func describe(_ image: Volume, _ record: inout SliceCase) throws(MedDINOError) {
    let upright = image.geometry.rearranged(try image.geometry.orientation().steps(to: .lps))
    record.dims = [upright.dims[1], upright.dims[0], upright.dims[2]]
    record.spacing = [upright.spacing[1], upright.spacing[0], upright.spacing[2]]
    record.orientation = try image.geometry.orientation().name
    if image.isPlane {
      record.leftOut = "two-dimensional"
    } else if image.channels != 1 {
      record.leftOut = "\(image.channels) channels, expected one"
    }
  }

  /// Why the whole volume stays out; nil when it does not.
  private func reason(_ extractor: SliceExtractor, _ control: RunControl) throws(MedDINOError) -> String? {
    if extractor.tilt > plan.rules.largestTilt {
      return "slices are turned by \(DecimalText.fixed(extractor.tilt, digits: 1)) degrees against the axial plane, "
        + "the rules allow \(DecimalText.fixed(plan.rules.largestTilt, digits: 1))"
    }
    guard plan.rules.requiresHounsfield else { return nil }
    guard let range = try extractor.range(pool, control) else { return "no value is a number" }
    if range.lowerBound >= 0 { return "not in HU: the lowest value is \(range.lowerBound)" }
    if range.upperBound - range.lowerBound <= 100 {
      return "not in HU: all values lie between \(range.lowerBound) and \(range.upperBound)"
    }
    return nil
  }

  private func cut(
    _ index: Int, _ extractor: SliceExtractor, _ known: [SliceDigest], _ record: inout SliceCase, _ control: RunControl
  ) throws(MedDINOError) {
    let area = extractor.area
    let block = max(1, min(Self.blockSlices, Self.blockBytes / (area * 2), extractor.count))
    let memory = try budget.allocate(try Checked.product([block, area, 2], "slices"), "stored slices")
    defer { withExtendedLifetime(memory) {} }
    guard let pixels = memory.elements(Int16.self).baseAddress else { return }
    var last: Float?
    var start = 0
    while start < extractor.count {
      let range = start..<min(start + block, extractor.count)
      let facts = try extractor.extract(range, into: pixels, pool, control)
      for slice in range {
        let (one, position) = (facts[slice - start], extractor.position(slice))
        guard try decide(one, position, &last, &record.slices) else { continue }
        let number = record.slices.kept
        record.slices.kept += 1
        if number < known.count {
          guard known[number] == one.digest else {
            throw .state("\(plan.volumes[index].path): changed since the run that was stopped; remove \(folder.path) to begin anew")
          }
          continue
        }
        try keep(
          pixels + (slice - start) * area, extractor.sizing, case: index, slice: slice, position: position, digest: one.digest,
          keptOfCase: record.slices.kept)
      }
      start = range.upperBound
      try control.update(Double(start) / Double(extractor.count))
    }
    guard record.slices.kept >= known.count else {
      throw .state("\(plan.volumes[index].path): changed since the run that was stopped; remove \(folder.path) to begin anew")
    }
  }

  /// True when the slice is kept; otherwise its reason is counted. The order of the reasons is part of the rules.
  ///
  /// `last`: position of the slice before it that is in the set, also from another volume: what a volume's step left out must not come in
  /// from its copy.
  private func decide(
    _ facts: SliceExtractor.Facts, _ position: Float, _ last: inout Float?, _ counts: inout SliceCounts
  ) throws(MedDINOError) -> Bool {
    if facts.isEmpty {
      counts.empty += 1
    } else if excluded.contains(facts.digest) {
      counts.excluded += 1
    } else if plan.rules.dropsDuplicates, seen.contains(facts.digest) {
      counts.duplicate += 1
      last = position
    } else if let before = last, plan.rules.step > 0, Double((position - before).magnitude) < plan.rules.step - 1e-3 {
      counts.thinned += 1
    } else {
      try seen.insert(facts.digest)
      last = position
      return true
    }
    return false
  }
}
