//! The only room that knows Ansible.
