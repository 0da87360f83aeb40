//! The kinds, and how Parquet and Arrow write them.

use arrow::datatypes::{DataType, Field};
use parquet::basic::{ConvertedType, EdgeInterpolationAlgorithm, LogicalType};
use parquet::schema::types::Type;
use serde::{Deserialize, Serialize};

/// The metadata of a field that holds its [`LogicalKind`].
pub(crate) const KEY: &str = "rowmill:logical_type";
pub(super) const EXTENSION_NAME: &str = "ARROW:extension:name";
pub(super) const EXTENSION_METADATA: &str = "ARROW:extension:metadata";

/// The logical type of a column that its Arrow type does not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub(crate) enum LogicalKind {
    Uuid,
    Json,
    Bson,
    Enum,
    Variant {
        version: Option<i8>,
    },
    Geometry {
        crs: Option<String>,
    },
    Geography {
        crs: Option<String>,
        edges: Option<String>,
    },
}

/// The logical kind of a field, if it has one.
pub(crate) fn logical_kind(field: &Field) -> Option<LogicalKind> {
    serde_json::from_str(field.metadata().get(KEY)?).ok()
}

/// Whether a field is a UUID as text.
pub(crate) fn is_uuid_text(field: &Field) -> bool {
    field.data_type().is_string() && logical_kind(field) == Some(LogicalKind::Uuid)
}

impl LogicalKind {
    pub(super) fn of_parquet(leaf: &Type) -> Option<LogicalKind> {
        let info = leaf.get_basic_info();
        Some(match (info.logical_type_ref(), info.converted_type()) {
            (Some(LogicalType::Uuid), _) => LogicalKind::Uuid,
            (Some(LogicalType::Json), _) | (None, ConvertedType::JSON) => LogicalKind::Json,
            (Some(LogicalType::Bson), _) | (None, ConvertedType::BSON) => LogicalKind::Bson,
            (Some(LogicalType::Enum), _) | (None, ConvertedType::ENUM) => LogicalKind::Enum,
            (Some(LogicalType::Variant(of)), _) => LogicalKind::Variant {
                version: of.specification_version,
            },
            (Some(LogicalType::Geometry(of)), _) => LogicalKind::Geometry {
                crs: of.crs.clone(),
            },
            (Some(LogicalType::Geography(of)), _) => LogicalKind::Geography {
                crs: of.crs.clone(),
                edges: of.algorithm.map(|edges| edges.to_string()),
            },
            _ => return None,
        })
    }

    /// The kind by the extension type of an Arrow field; the logical type of a Parquet file has
    /// precedence.
    pub(super) fn of_arrow(field: &Field) -> Option<LogicalKind> {
        let data_type = field.data_type();
        Some(match field.metadata().get(EXTENSION_NAME)?.as_str() {
            "arrow.uuid" if is_uuid_bytes(data_type) => LogicalKind::Uuid,
            "arrow.json" if values_of(data_type).is_string() => LogicalKind::Json,
            "arrow.parquet.variant" if matches!(data_type, DataType::Struct(_)) => {
                LogicalKind::Variant { version: None }
            }
            "geoarrow.wkb" if values_of(data_type).is_binary() => {
                geometry(field.metadata().get(EXTENSION_METADATA))
            }
            _ => return None,
        })
    }

    /// The logical type of Parquet.
    pub(crate) fn in_parquet(&self) -> LogicalType {
        match self {
            LogicalKind::Uuid => LogicalType::Uuid,
            LogicalKind::Json => LogicalType::Json,
            LogicalKind::Bson => LogicalType::Bson,
            LogicalKind::Enum => LogicalType::Enum,
            LogicalKind::Variant { version } => LogicalType::variant(*version),
            LogicalKind::Geometry { crs } => LogicalType::geometry(crs.clone()),
            LogicalKind::Geography { crs, edges } => {
                LogicalType::geography(crs.clone(), edges.as_deref().and_then(algorithm))
            }
        }
    }

    /// The name of Arrow's extension type, and its metadata.
    pub(super) fn extension(&self) -> Option<(&'static str, String)> {
        Some(match self {
            LogicalKind::Uuid => ("arrow.uuid", String::new()),
            LogicalKind::Json => ("arrow.json", String::new()),
            LogicalKind::Variant { .. } => ("arrow.parquet.variant", String::new()),
            LogicalKind::Geometry { crs } => ("geoarrow.wkb", wkb_metadata(crs.as_deref(), None)),
            LogicalKind::Geography { crs, edges } => (
                "geoarrow.wkb",
                wkb_metadata(
                    crs.as_deref(),
                    Some(edges.as_deref().unwrap_or("SPHERICAL")),
                ),
            ),
            LogicalKind::Bson | LogicalKind::Enum => return None,
        })
    }

    /// Whether a column of this Arrow type can have the kind in a Parquet file.
    pub(crate) fn fits(&self, data_type: &DataType) -> bool {
        let values = values_of(data_type);
        match self {
            LogicalKind::Uuid => is_uuid_bytes(data_type),
            LogicalKind::Json | LogicalKind::Enum => values.is_string() || values.is_binary(),
            LogicalKind::Bson | LogicalKind::Geometry { .. } | LogicalKind::Geography { .. } => {
                values.is_binary()
            }
            LogicalKind::Variant { .. } => matches!(data_type, DataType::Struct(_)),
        }
    }
}

fn algorithm(name: &str) -> Option<EdgeInterpolationAlgorithm> {
    use EdgeInterpolationAlgorithm as Edges;
    let known = [
        Edges::SPHERICAL,
        Edges::VINCENTY,
        Edges::THOMAS,
        Edges::ANDOYER,
        Edges::KARNEY,
    ];
    known
        .into_iter()
        .find(|known| known.to_string().eq_ignore_ascii_case(name))
}

/// The kind by the metadata of GeoArrow. The defaults differ: no coordinate system there is
/// `srid:0` in Parquet, and none in Parquet is `OGC:CRS84`.
fn geometry(metadata: Option<&String>) -> LogicalKind {
    let metadata: serde_json::Value = metadata
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let crs = match metadata.get("crs") {
        None | Some(serde_json::Value::Null) => Some("srid:0".to_owned()),
        Some(serde_json::Value::String(text)) if text == "OGC:CRS84" => None,
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(object) => Some(object.to_string()),
    };
    match metadata.get("edges").and_then(serde_json::Value::as_str) {
        None | Some("planar") => LogicalKind::Geometry { crs },
        Some(edges) => LogicalKind::Geography {
            crs,
            edges: Some(edges.to_uppercase()).filter(|edges| edges != "SPHERICAL"),
        },
    }
}

fn wkb_metadata(crs: Option<&str>, edges: Option<&str>) -> String {
    let mut metadata = serde_json::Map::new();
    match crs {
        Some("srid:0") => {}
        Some(text) => {
            let object = serde_json::from_str::<serde_json::Value>(text)
                .ok()
                .filter(serde_json::Value::is_object);
            metadata.insert("crs".to_owned(), object.unwrap_or_else(|| text.into()));
        }
        None => drop(metadata.insert("crs".to_owned(), "OGC:CRS84".into())),
    }
    if let Some(edges) = edges {
        metadata.insert("edges".to_owned(), edges.to_lowercase().into());
    }
    serde_json::Value::from(metadata).to_string()
}

fn values_of(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        DataType::RunEndEncoded(_, values) => values.data_type(),
        other => other,
    }
}

pub(super) fn is_uuid_bytes(data_type: &DataType) -> bool {
    matches!(values_of(data_type), DataType::FixedSizeBinary(16))
}
