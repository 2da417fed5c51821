//! placeholder
use crate::error::XtaskError;
use crate::layout::Layout;
pub(crate) fn check(_layout: &Layout) -> Result<Vec<String>, XtaskError> {
    Ok(vec![])
}
