//! Errors as executions have them: JSON of type, message and traceback.

pub fn error_json(kind: &str, message: &str) -> Vec<u8> {
    serde_json::json!({"type": kind, "message": message, "traceback": ""}).to_string().into_bytes()
}

/// True when the error's class is one of `names`, bare or qualified.
pub fn names_type(names: &[String], error: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Typed {
        r#type: String,
    }
    let Ok(error) = serde_json::from_slice::<Typed>(error) else { return false };
    let bare = error.r#type.rsplit('.').next().unwrap_or_default();
    names.iter().any(|name| *name == error.r#type || name.rsplit('.').next() == Some(bare))
}
