//! What every module is: options, a plan that only reads, and the work.

use crate::chain::Failure;
use crate::invocation::Invocation;
use crate::options::Options;
use crate::reply::Returns;

/// What a plan can say of itself before anything is done.
pub trait Preview {
    /// What check mode replies: the same keys as the real run where they are
    /// known, and whether the run would change anything.
    fn preview(&self) -> Returns;
}

/// One Ansible module.
pub trait Task: Sized {
    /// What `plan` found out and `apply` needs.
    type Plan: Preview;

    /// Reads the module's options.
    ///
    /// # Errors
    /// When options do not fit each other.
    fn parse(options: &Options) -> Result<Self, Failure>;

    /// Only reads: connects, checks, and says what would happen.
    ///
    /// # Errors
    /// Whatever would make `apply` fail and can be known before.
    fn plan(&self) -> Result<Self::Plan, Failure>;

    /// What check mode asks beyond the plan, because only asking tells: whether a call would be allowed, for example.
    ///
    /// # Errors
    /// As of `apply`.
    fn check(&self, plan: &Self::Plan) -> Result<(), Failure> {
        let _ = plan;
        Ok(())
    }

    /// Changes the world as planned.
    ///
    /// # Errors
    /// Whatever kept the work from being whole.
    fn apply(&self, plan: Self::Plan) -> Result<Returns, Failure>;
}

/// Runs a module. Check mode stops after `plan`, so that no module can forget
/// it.
///
/// # Errors
/// As the module's steps.
pub fn run<T: Task>(options: &Options, invocation: &Invocation) -> Result<Returns, Failure> {
    let task = T::parse(options)?;
    let plan = task.plan()?;
    if invocation.check_mode {
        task.check(&plan)?;
        return Ok(plan.preview());
    }
    task.apply(plan)
}
