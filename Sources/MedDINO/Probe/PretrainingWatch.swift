internal import Networks
public import Platform
public import Pretraining
internal import Probing
internal import Reports
internal import Tensors
public import Training
public import WeightFiles

/// Watches a pretraining run: health of the teacher's features and Dice of probes for the metrics, maps in `watch/maps_<iteration>.png`,
/// and everything as curves in `progress.png`.
///
/// Always the same slices, spread evenly over the source. Source: Siméoni et al., DINOv3, arXiv:2508.10104, section 4.
public final class PretrainingWatch: PretrainingWatcher {
  private let folder: String
  private let labelled: LabelledSlices?
  private var series: [String: BinnedSeries] = [:]
  /// Patches whose directions one effective rank is made of.
  private static let rankRows = 1024

  /// Reads what the run has noted so far, and the labelled slices where the settings name some.
  /// Throws: `.io`, `.format`, and what `ProbeData.read` throws.
  public init(_ run: Pretrainer, control: RunControl = RunControl()) throws(MedDINOError) {
    guard let folder = run.folder else {
      throw .invalid("watch.every is above 0 in a run without a folder, which has no place for pictures")
    }
    self.folder = folder
    let watch = run.settings.watch
    labelled = try watch.probeData.map { path throws(MedDINOError) in
      try ProbeData.read(path, labels: watch.probeLabels, maximum: watch.probeSlices, in: run.budget, control: control)
    }
    let path = folder + "/metrics.jsonl"
    guard run.isResumed, FileKind.of(path) == .regular else { return }
    let file = try InputFile(path)
    var rest: [UInt8] = []
    for offset in stride(from: 0, to: file.size, by: 1 << 20) {
      rest += try file.bytes(at: offset, count: min(1 << 20, file.size - offset))
      guard let end = rest.lastIndex(of: 10) else { continue }
      for line in rest[...end].split(separator: 10) { note(try MetricsRecord(JSON.parse(Array(line), source: path), source: path)) }
      rest.removeSubrange(...end)
    }
  }

  public func note(_ record: MetricsRecord) {
    for entry in record.values.entries {
      guard let value = entry.value.doubleValue else { continue }
      series[entry.key, default: BinnedSeries()].append(record.step, value)
    }
  }

  public func draw(_ run: Pretrainer) throws(MedDINOError) {
    try PretrainingPlot(series.mapValues(\.points)).write(
      title: "pretraining", subtitle: "\(run.iteration) of \(run.settings.run.iterations) iterations", to: folder + "/progress.png",
      in: run.budget)
  }

  public func observe(_ run: Pretrainer, control: RunControl) throws(MedDINOError) -> JSONObject {
    var values = try health(run, control)
    let watch = run.settings.watch
    if watch.maps > 0 {
      try makeFolder(folder + "/watch")
      try FeatureMaps(run: run, control: control).write(
        places(run, min(watch.maps, watch.slices)), to: folder + "/watch/maps_\(run.iteration).png")
    }
    if let labelled {
      let probe = try SegmentationProbe(
        labelled, encoder: TeacherEncoder(run), longestSide: watch.size, device: run.probingDevice, control: control)
      let found = try probe.run(control: control)
      values["probe_knn_dice"] = .number(found.neighbours.mean)
      values["probe_linear_dice"] = .number(found.linear.mean)
    }
    return values
  }

  /// Numbers of slices spread evenly over the source.
  private func places(_ run: Pretrainer, _ count: Int) -> [Int] {
    let count = min(count, run.sliceCount)
    return (0..<count).map { (2 * $0 + 1) * run.sliceCount / (2 * count) }
  }

  /// Of slices at the size of the first global crops, so that the numbers are those of training.
  private func health(_ run: Pretrainer, _ control: RunControl) throws(MedDINOError) -> JSONObject {
    let (settings, places) = (run.settings, places(run, run.settings.watch.slices))
    let encoder = settings.networks.encoder
    var sums: [String: Double] = [:]
    let classes = try Tensor([places.count, encoder.embedDim], in: run.budget, "class tokens")
    let each = max(1, Self.rankRows / places.count)
    let patches = try Tensor([places.count * each, encoder.embedDim], in: run.budget, "patch tokens")
    for (index, place) in places.enumerated() {
      let slice = try run.slice(at: place)
      let grid = PatchGrid(
        rows: slice.rows, columns: slice.columns, patchSize: encoder.patchSize, longestSide: settings.crops.resolutions[0].global)
      guard let own = try run.tokens(of: slice, grid, control: control) else { continue }
      classes.rows(index..<index + 1).copy(from: own.classToken.reshaped([1, encoder.embedDim]))
      let count = own.patches.shape[0]
      for row in 0..<each {
        let from = row * count / each
        patches.rows(index * each + row..<index * each + row + 1).copy(from: own.patches.rows(from..<from + 1))
      }
      var found = [
        ("patch_cosine", FeatureHealth.meanCosine(own.patches)),
        ("patch_neighbour_cosine", FeatureHealth.neighbourCosine(own.patches, rows: own.rows, columns: own.columns)),
        ("class_patch_cosine", FeatureHealth.meanCosine(of: own.classToken, to: own.patches)),
      ]
      if let anchor = try run.tokens(of: slice, grid, teacher: .gram, control: control) {
        let shape: Shape = [1, count, encoder.embedDim]
        let cosine = FeatureHealth.meanCosine(anchor.patches)
        let distance = try run.probingDevice.gramLoss(
          own.patches.reshaped(shape), teacher: anchor.patches.reshaped(shape), GramOptions(), scale: 1, gradient: nil)
        found += [("gram_patch_cosine", cosine), ("gram_drift", found[0].1 - cosine), ("gram_distance", distance.squareRoot())]
      }
      for (name, value) in found { sums[name, default: 0] += value / Double(places.count) }
    }
    var values = JSONObject([
      ("class_rank", .number(try FeatureHealth.effectiveRank(classes, control: control))),
      ("patch_rank", .number(try FeatureHealth.effectiveRank(patches, control: control))),
    ])
    for name in sums.keys.sorted() { values[name] = .number(sums[name] ?? .nan) }
    return values
  }
}

/// The maps of a run's fixed slices: principal components of the patches, and how alike they are to two of them.
struct FeatureMaps {
  let run: Pretrainer
  let control: RunControl

  /// Throws: `.io`, `.outOfMemory`, `.cancelled`.
  func write(_ places: [Int], to path: String) throws(MedDINOError) {
    var rows: [FeatureSheet.Row] = []
    for place in places { if let row = try row(place) { rows.append(row) } }
    guard !rows.isEmpty else { return }
    try FeatureSheet.write(rows, title: "teacher after \(run.iteration) iterations", to: path, in: run.budget)
  }

  private func row(_ place: Int) throws(MedDINOError) -> FeatureSheet.Row? {
    let slice = try run.slice(at: place)
    let encoder = run.settings.networks.encoder
    let grid = PatchGrid(
      rows: slice.rows, columns: slice.columns, patchSize: encoder.patchSize, longestSide: run.settings.watch.size)
    guard let tokens = try run.tokens(of: slice, grid, control: control), let base = tokens.patches.floats.baseAddress else { return nil }
    let (count, dim) = (tokens.patches.shape[0], tokens.patches.shape[1])
    let grey = grey(slice)
    let marks = [grid.rows / 2 * grid.columns + grid.columns / 2, brightest(grey, slice, grid)]
    var maps: [FeatureSheet.Map] = []
    if count >= 3, dim >= 3 {
      maps.append(.init("components", colours: try TokenMaps.colours(base, count: count, dim: dim, control: control)))
    }
    for (name, mark) in zip(["like the centre", "like the brightest"], marks) {
      let query = TokenMaps.unit(base + mark * dim, dim)
      maps.append(.init(name, cosines: (0..<count).map { TokenMaps.cosine(base + $0 * dim, query) }))
    }
    withExtendedLifetime(tokens.patches) {}
    return FeatureSheet.Row(
      caption: "slice \(place)", grey: grey, rows: slice.rows, columns: slice.columns, patchRows: grid.rows, patchColumns: grid.columns,
      maps: maps, marks: marks)
  }

  /// The first channel; Hounsfield units from -160 to 240, everything else from its least to its largest value.
  private func grey(_ slice: PretrainingSlice) -> [Float] {
    let values = (0..<slice.rows * slice.columns).map { slice.pixels.floats[$0] }
    withExtendedLifetime(slice.pixels) {}
    let finite = values.filter(\.isFinite)
    let (low, high) = slice.units == .hounsfield ? (-160, 240) : (finite.min() ?? 0, finite.max() ?? 1)
    return values.map { high > low ? ($0 - low) / (high - low) : 0 }
  }

  /// The patch of the highest mean grey, which is bone in a CT: another place than the centre that means something.
  private func brightest(_ grey: [Float], _ slice: PretrainingSlice, _ grid: PatchGrid) -> Int {
    var (sums, counts) = ([Float](repeating: 0, count: grid.rows * grid.columns), [Float](repeating: 0, count: grid.rows * grid.columns))
    for row in 0..<slice.rows {
      for column in 0..<slice.columns {
        let patch = row * grid.rows / slice.rows * grid.columns + column * grid.columns / slice.columns
        let value = grey[row * slice.columns + column]
        sums[patch] += value.isFinite ? min(max(value, 0), 1) : 0
        counts[patch] += 1
      }
    }
    let means = zip(sums, counts).map { $1 > 0 ? $0 / $1 : 0 }
    return means.indices.max { means[$0] < means[$1] } ?? 0
  }
}
