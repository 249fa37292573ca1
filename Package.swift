// swift-tools-version: 6.2
// The house, floor by floor: a target imports only from floors below its own (CONTRIBUTING.md).
import PackageDescription

/// `make` sets this: only then the flags of the shipped libmeddino.so are used (they would also reach the test bundle).
let dist = Context.environment["MEDDINO_DIST"] == "1"
/// The OpenMP variant of the thread pool (`make test-openmp`), for hosts that live on OpenMP.
let openmp = Context.environment["MEDDINO_OPENMP"] == "1"
/// The static OpenBLAS and zlib that go into libmeddino.so, hidden.
let archives = dist ? [Context.environment["MEDDINO_OPENBLAS_A"], Context.environment["MEDDINO_ZLIB_A"]].compactMap { $0 } : []
let root = Context.packageDirectory

/// OpenBLAS must not start threads of its own when the library is loaded; hypotf would ask for glibc 2.35.
let archiveFlags =
  ["-use-ld=lld", "-Xlinker", "--wrap=openblas_num_threads_env", "-Xlinker", "--wrap=hypotf"] + archives.flatMap { ["-Xlinker", $0] }
let distLink: [LinkerSetting] =
  dist
  ? [
    .unsafeFlags(
      [
        "-static-stdlib", "-no-toolchain-stdlib-rpath",
        "-Xlinker", "-soname=libmeddino.so.1",
        "-Xlinker", "--version-script=\(root)/Sources/MedDINOC/meddino.map",
        "-Xlinker", "--exclude-libs=ALL", "-Xlinker", "-z", "-Xlinker", "defs", "-Xlinker", "--gc-sections",
      ] + archiveFlags)
  ] : []

let swiftSettings: [SwiftSetting] =
  [.enableUpcomingFeature("InternalImportsByDefault")] + (openmp ? [.define("MEDDINO_OPENMP")] : [])

func module(_ name: String, _ dependencies: [Target.Dependency], linker: [LinkerSetting] = []) -> Target {
  .target(
    name: name, dependencies: dependencies, exclude: name == "MedDINOC" ? ["meddino.map"] : [], swiftSettings: swiftSettings,
    linkerSettings: linker)
}
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name + "Tests", dependencies: dependencies + [.byName(name: "TestSupport")], path: "Tests/\(name)Tests")
}

let package = Package(
  name: "meddino",
  products: [
    .library(name: "meddino", type: .dynamic, targets: ["MedDINOC"]),
    .executable(name: "meddino-cli", targets: ["MedDINOCommand"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
    // YAML is the command line's alone: Yams needs Foundation, which the library must not have.
    .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
  ],
  targets: [
    // floor 0
    .systemLibrary(name: "CMedDINO"),
    .systemLibrary(name: "CCommunicator"),
    .systemLibrary(name: "COpenBLAS", pkgConfig: dist ? nil : "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: dist ? nil : "zlib", providers: [.apt(["zlib1g-dev"])]),
    .target(
      name: "CKernels", dependencies: ["COpenBLAS"],
      cSettings: [.unsafeFlags(["-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra"] + (openmp ? ["-fopenmp"] : []))]
        + (dist ? [.define("CK_STATIC_OPENBLAS")] : []),
      linkerSettings: openmp ? [.linkedLibrary("omp5")] : []),
    // floor 1
    module("Platform", ["CZlib"]),
    module("Tensors", ["Platform", "CKernels"]),
    // floor 2
    module("Imaging", ["Tensors", "Platform"]),
    module("WeightFiles", ["Tensors", "Platform"]),
    // floor 3
    module("Networks", ["Tensors", "WeightFiles", "Platform"]),
    module("Slices", ["Tensors", "WeightFiles", "Platform"]),
    // floor 4
    module("Segmentation", ["Imaging", "Networks", "Tensors", "WeightFiles", "Platform", "CKernels"]),
    module("Training", ["Networks", "Tensors", "WeightFiles", "Platform"]),
    module("Probing", ["Imaging", "Tensors", "Platform"]),
    // floor 5
    module("FineTuning", ["Segmentation", "Training", "Networks", "Imaging", "Tensors", "WeightFiles", "Platform"]),
    module("Pretraining", ["Training", "Probing", "Networks", "Imaging", "Tensors", "WeightFiles", "Platform"]),
    module("Datasets", ["Training", "Slices", "Imaging", "Tensors", "Platform", "WeightFiles"]),
    module("Reports", ["Imaging", "Tensors", "Platform", "CZlib"]),
    // floor 6
    module(
      "MedDINO",
      [
        "FineTuning", "Pretraining", "Probing", "Reports", "Training", "Segmentation", "Networks", "Slices", "Imaging", "WeightFiles",
        "Tensors",
        "Platform",
      ]),
    // floor 7
    module(
      "MedDINOC",
      [
        "MedDINO", "CMedDINO", "CKernels", "FineTuning", "Pretraining", "Training", "Segmentation", "Networks", "Imaging", "WeightFiles",
        "Tensors",
        "Platform",
      ],
      linker: distLink),
    .executableTarget(
      name: "MedDINOCommand",
      dependencies: [
        "MedDINO", "FineTuning", "Pretraining", "Probing", "Segmentation", "Networks", "Reports", "Datasets", "Slices", "Imaging",
        "WeightFiles", "Tensors", "Platform", "CCommunicator",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Yams", package: "Yams"),
      ],
      swiftSettings: swiftSettings, linkerSettings: dist ? [.unsafeFlags(archiveFlags)] : []),
    // tests
    .target(name: "TestSupport", dependencies: ["Platform", "Tensors", "CKernels"], path: "Tests/TestSupport"),
    // a process of its own that saves checkpoints until it is killed or its disk is full
    .executableTarget(
      name: "CheckpointProbe", dependencies: ["Training", "Tensors", "WeightFiles", "Platform"], path: "Tests/CheckpointProbe",
      swiftSettings: swiftSettings),
    tests("CKernels", ["CKernels"]),
    tests("Platform", ["Platform"]),
    tests("Tensors", ["Tensors", "Platform", "CKernels"]),
    tests("Imaging", ["Imaging", "Tensors", "Platform"]),
    tests("WeightFiles", ["WeightFiles", "Tensors", "Platform"]),
    tests("Networks", ["Networks", "WeightFiles", "Tensors", "Platform"]),
    tests("Segmentation", ["Segmentation", "Networks", "Imaging", "WeightFiles", "Tensors", "Platform"]),
    tests("Training", ["Training", "CheckpointProbe", "Networks", "Tensors", "WeightFiles", "Platform"]),
    tests(
      "FineTuning",
      ["FineTuning", "Datasets", "Reports", "Segmentation", "Training", "Networks", "Imaging", "Tensors", "WeightFiles", "Platform"]),
    tests("Probing", ["Probing", "Imaging", "Tensors", "Platform"]),
    tests("Pretraining", ["Pretraining", "Training", "Networks", "Imaging", "Tensors", "WeightFiles", "Platform"]),
    tests("Slices", ["Slices", "WeightFiles", "Tensors", "Platform"]),
    tests("Datasets", ["Datasets", "Slices", "Segmentation", "Imaging", "WeightFiles", "Tensors", "Platform"]),
    tests("Reports", ["Reports", "Imaging", "Tensors", "Platform"]),
    tests(
      "MedDINO",
      [
        "MedDINO", "Datasets", "FineTuning", "Pretraining", "Probing", "Training", "Segmentation", "Networks", "Imaging", "WeightFiles",
        "Tensors", "Platform",
      ]),
    tests("MedDINOC", ["MedDINOC", "CMedDINO", "CKernels", "MedDINO", "Imaging", "Tensors", "Platform"]),
    tests(
      "Golden",
      [
        "CKernels", "MedDINO", "FineTuning", "Pretraining", "Training", "Segmentation", "Networks", "Imaging", "WeightFiles", "Tensors",
        "Platform",
      ]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .gnu11
)
