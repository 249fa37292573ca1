internal import Platform
internal import Slices

/// What a part holds, for people.
enum CurationSummary {
  static func text(_ manifest: SliceManifest, cases: [SliceCase]) -> String {
    let (counts, rules) = (manifest.slices, manifest.rules)
    let all = manifest.intensities.statistics()
    let body = manifest.intensities.statistics(from: rules.bodyThreshold)
    let spacing = rules.spacing.map { "\($0) mm" } ?? "as published"
    let size = rules.size.map { "\($0) × \($0) (\(rules.fit.rawValue))" } ?? "as it comes"
    var lines = [
      "\(manifest.title) (\(manifest.name))", "licence: \(manifest.licence)", "reference: \(manifest.reference)", "",
      "volumes: \(manifest.cases), left out \(manifest.leftOut), kept out by name \(manifest.excludedNames.count)",
      "slices: \(counts.kept) kept of \(counts.seen)",
      "dropped: \(counts.empty) empty, \(counts.duplicate) duplicate, \(counts.thinned) thinned, \(counts.excluded) of images kept out",
      "shards: \(manifest.shards.count), \(manifest.shards.reduce(0) { $0 + $1.bytes } >> 20) MB", "",
      "spacing: \(spacing), size: \(size), clip: \(rules.clip.lowerBound) to \(rules.clip.upperBound) HU",
      "empty: less than \(rules.bodyFraction) above \(rules.bodyThreshold) HU, or a range of at most \(rules.smallestRange) HU",
      "all pixels: \(line(all))", "body pixels: \(line(body))",
    ]
    let leftOut = cases.filter { $0.leftOut != nil }
    if !leftOut.isEmpty { lines += ["", "left out:"] + leftOut.map { "  \($0.name): \($0.leftOut ?? "")" } }
    if !manifest.excludedNames.isEmpty { lines += ["", "kept out by name:"] + manifest.excludedNames.map { "  " + $0 } }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func line(_ statistics: IntensityStatistics) -> String {
    "mean \(DecimalText.fixed(statistics.mean, digits: 2)), std \(DecimalText.fixed(statistics.deviation, digits: 2)), "
      + "median \(statistics.median), \(statistics.percentile0005) to \(statistics.percentile9995) HU (0.5 to 99.5 %)"
  }
}
